"""Who may call what: one table, and what is not in it is refused.

A caller's class is what the process that answers has proven of it: by the certificate of the connection, by the
kernel's word on a UNIX socket, or by the socket itself. The table says nothing of what a call may do: an agent may
call Issue, and for what it gets a certificate is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from inborn.errors import DeniedError

__all__ = ["ACCESS", "CallNotAllowed", "CallerClass", "check"]


class CallNotAllowed(DeniedError):
    """The caller's class may not call this method."""


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
    """On the signer's UNIX socket: anybody else."""
    LOCAL_WORKLOAD = "local workload"
    """On the agent's Workload API socket: any process."""
    AGENT_ADMIN = "agent admin"
    """On the agent's own socket: root or the agent's user."""


def _rows(service: str, methods: str, *callers: CallerClass) -> dict[str, frozenset[CallerClass]]:
    return {f"/{service}/{method}": frozenset(callers) for method in methods.split()}


ACCESS: Mapping[str, frozenset[CallerClass]] = {
    **_rows("inborn.v1.Bootstrap", "GetBundle Challenge Enroll", CallerClass.ANONYMOUS),
    **_rows("inborn.v1.Authority", "Issue IssueStream Report", CallerClass.AGENT),
    **_rows("inborn.v1.Authority", "Renew Revoke Watch", CallerClass.AGENT, CallerClass.DAEMON),
    **_rows(
        "inborn.signer.v1.Signing",
        "Attach Challenge Enroll Issue Renew Revoke Report CertifyFront DomainSnapshot OpenNodeFeed CloseNodeFeed "
        "Acknowledge ReportDenial Measure",
        CallerClass.FRONT,
    ),
    **_rows("inborn.signer.v1.Fronting", "Publish Disconnect Renew Probe", CallerClass.SIGNER),
    **_rows(
        "inborn.admin.v1.Admin",
        "CreateToken ListTokens RevokeToken "
        "SetX509Pop GetX509Pop RemoveX509Pop "
        "CreateEntry ListEntries GetEntry UpdateEntry DeleteEntry "
        "CreatePosturePolicy ListPosturePolicies DeletePosturePolicy "
        "ListCertificates GetCertificate ListAgents BanAgent "
        "Revoke GetExpansion GetAuthorityRevocation "
        "ListFindings AcceptFinding Unblock ListRevocations GetPropagation GetBundle CheckHealth GetStatus "
        "ListAudit ListAlarms AcknowledgeAlarm Backup",
        CallerClass.LOCAL_ADMIN,
    ),
    **_rows("inborn.agent.v1.Local", "Attend Why", CallerClass.LOCAL_WORKLOAD),
    **_rows("inborn.agent.v1.AgentAdmin", "WhyProcess GetStatus", CallerClass.AGENT_ADMIN),
    **_rows(
        "SpiffeWorkloadAPI",
        "FetchX509SVID FetchX509Bundles FetchJWTSVID FetchJWTBundles ValidateJWTSVID FetchWITSVID FetchWITBundles",
        CallerClass.LOCAL_WORKLOAD,
    ),
}
"""Full method name -> who may call it."""


def check(method: str, caller: CallerClass) -> None:
    """Raise `CallNotAllowed` unless the table names this class for this method."""
    if caller not in ACCESS.get(method, frozenset()):
        raise CallNotAllowed(f"{caller} may not call {method[:100]!a}")
