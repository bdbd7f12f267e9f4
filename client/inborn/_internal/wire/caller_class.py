"""The classes of callers that the access table and the declarations of methods speak of."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CallerClass"]


class CallerClass(StrEnum):
    ANONYMOUS = "anonymous"
    """On the bootstrap port: no certificate is asked for."""
    AGENT = "agent"
    """On the API port, with an ID below /inborn/agent/."""
    DAEMON = "daemon"
    """On the API port, with the certificate of a daemon that was enrolled by a token."""
    WORKLOAD = "workload"
    """On the API port, with a certificate that an agent fetched."""
    FRONT = "front"
    """On the signer's socketpair: the CA's own network side."""
    SIGNER = "signer"
    """On the front's end of the same socketpair."""
    LOCAL_ADMIN = "local admin"
    """On the signer's UNIX socket: root or the CA's user."""
    LOCAL_OTHER = "local user"
    """On the signer's UNIX socket or the agent's own: anybody else."""
    LOCAL_WORKLOAD = "local workload"
    """On the agent's Workload API socket: any process."""
    AGENT_ADMIN = "agent admin"
    """On the agent's own socket: root or the agent's user, in the agent's own namespaces."""
