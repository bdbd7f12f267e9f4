"""Who may call what: one table, and what is not in it is refused.

A caller's class is what the process that answers has proven of it: by the certificate of the connection, by the
kernel's word on a UNIX socket, or by the socket itself. The table says nothing of what a call may do: an agent may
call Issue, and for what it gets a certificate is decided elsewhere. The rows of the admin's methods are their
declarations' (`admin_methods`).
"""

from __future__ import annotations

from collections.abc import Mapping

from inborn._internal.wire import admin_methods
from inborn._internal.wire.caller_class import CallerClass
from inborn.errors import DeniedError

__all__ = ["ACCESS", "CallNotAllowed", "CallerClass", "check"]


class CallNotAllowed(DeniedError):
    """The caller's class may not call this method."""


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
    **{method.name: method.callers for method in admin_methods.METHODS.values()},
    **_rows("inborn.agent.v1.Local", "Attend Why", CallerClass.LOCAL_WORKLOAD),
    **_rows("inborn.agent.v1.AgentAdmin", "WhyProcess GetStatus", CallerClass.AGENT_ADMIN),
    **_rows(
        "SpiffeWorkloadAPI",
        "FetchX509SVID FetchX509Bundles FetchJWTSVID FetchJWTBundles ValidateJWTSVID FetchWITSVID FetchWITBundles",
        CallerClass.LOCAL_WORKLOAD,
    ),
}
"""Full method name -> who may call it."""


def check(method: str, caller: CallerClass, *, because: str = "") -> None:
    """Raise `CallNotAllowed` unless the table names this class for this method.

    `because` says why the caller has no better class than this one, where that is known; the refusal repeats it.
    """
    if caller not in ACCESS.get(method, frozenset()):
        reason = f": {because}" if because else ""
        raise CallNotAllowed(f"{caller} may not call {method[:100]!a}{reason}")
