"""The command `inborn`: one static table of verbs; a verb's module is imported only when the verb is called.

The table names everything by string, so that `inborn --help` loads neither grpc nor cryptography, and so that the
library's package knows CA and agent by name alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["GROUPS", "VERBS", "Group", "Verb", "main"]


class Verb(NamedTuple):
    """One verb. `target` is "module:attribute" of a click command; `extra` is what has to be installed for it."""

    path: str
    target: str
    summary: str
    extra: str = "cli"


class Group(NamedTuple):
    """Verbs that share their first word."""

    name: str
    summary: str
    example: str


GROUPS: tuple[Group, ...] = (
    Group("ca", "The certificate authority of a network.", "inborn ca backup /var/backups/inborn.db"),
    Group("agent", "The agents that stand between CA and workloads.", "inborn agent list"),
    Group("token", "Join tokens: how machines and daemons get in.", "inborn token create --name web1 --ttl 10m"),
    Group("x509pop", "Whose certificates let agents in.", "inborn x509pop set --ca-bundle ca.pem"),
    Group(
        "entry",
        "Registration entries: which process is which SPIFFE ID.",
        "inborn entry create --id spiffe://example.org/web --selector unix:uid:1000",
    ),
    Group(
        "posture",
        "Posture policies: what every workload under an ID must show.",
        "inborn posture create --id-prefix spiffe://example.org/prod --demand seccomp",
    ),
    Group("certs", "The ledger of everything issued.", "inborn certs list --id spiffe://example.org/web"),
    Group("revocations", "What has been revoked, and what is blocked.", "inborn revocations list"),
    Group("blocks", "What gets nothing new.", "inborn blocks list"),
    Group("findings", "What agents knew and a restored CA did not.", "inborn findings list"),
    Group("bundle", "The roots of the trust domain.", "inborn bundle show --format pem > roots.pem"),
    Group("audit", "Who changed what, when, from where.", "inborn audit list --follow"),
    Group("alarms", "What somebody has to look at.", "inborn alarms list"),
    Group("config", "Configuration for servers that are not Inborn's.", "inborn config show nginx"),
    Group("svid", "This process's own identity.", "inborn svid fetch --write /run/web/tls"),
)

VERBS: tuple[Verb, ...] = (
    Verb("up", "inborn_ca.cli:up", "Run CA and agent for this machine under one command.", "ca"),
    Verb("status", "inborn_cli.admin.status:status", "Say what runs, what runs out when, and which alarms are open."),
    Verb("ca run", "inborn_ca.cli:ca_run", "Run the certificate authority.", "ca"),
    Verb("ca backup", "inborn_cli.admin.backup:backup", "Back up the CA while it runs."),
    Verb("ca restore", "inborn_ca.cli:ca_restore", "Make a CA from a backup.", "ca"),
    Verb("agent run", "inborn_agent.cli:agent_run", "Run the agent of this machine.", "agent"),
    Verb("agent list", "inborn_cli.admin.agents:list_agents", "List the agents and how far they are."),
    Verb("agent ban", "inborn_cli.admin.agents:ban", "End an agent at once, with all that it vouched for."),
    Verb("agent evict", "inborn_cli.admin.agents:evict", "Kill an agent's certificates and all that it vouched for."),
    Verb("token create", "inborn_cli.admin.token:create", "Make a join token."),
    Verb("token list", "inborn_cli.admin.token:list_tokens", "List the tokens that can still be used."),
    Verb("token revoke", "inborn_cli.admin.token:revoke", "Withdraw a token."),
    Verb("x509pop set", "inborn_cli.admin.x509pop:set_authorities", "Name the CAs whose certificates let agents in."),
    Verb("x509pop show", "inborn_cli.admin.x509pop:show", "Show them, and how agents are called."),
    Verb("x509pop remove", "inborn_cli.admin.x509pop:remove", "Let no certificate in any more."),
    Verb("entry create", "inborn_cli.admin.entry:create", "Say which processes are a SPIFFE ID."),
    Verb("entry list", "inborn_cli.admin.entry:list_entries", "List the entries."),
    Verb("entry show", "inborn_cli.admin.entry:show", "Show one entry."),
    Verb("entry update", "inborn_cli.admin.entry:update", "Change an entry."),
    Verb("entry delete", "inborn_cli.admin.entry:delete", "Delete an entry."),
    Verb("posture create", "inborn_cli.admin.posture:create", "Demand something of every workload under an ID."),
    Verb("posture list", "inborn_cli.admin.posture:list_policies", "List the posture policies."),
    Verb("posture delete", "inborn_cli.admin.posture:delete", "Delete a posture policy."),
    Verb(
        "certs list",
        "inborn_cli.admin.certs:list_certificates",
        "List certificates, those alive unless told otherwise.",
    ),
    Verb("certs show", "inborn_cli.admin.certs:show", "Show one certificate's row."),
    Verb("revoke", "inborn_cli.admin.revoke:revoke", "Kill what was issued, and block what would be issued next."),
    Verb("unblock", "inborn_cli.admin.revocations:unblock", "Let something blocked be issued again."),
    Verb("revocations list", "inborn_cli.admin.revocations:list_revocations", "List revocations and blocks."),
    Verb("revocations show", "inborn_cli.admin.revocations:show", "Show one revocation, and who has applied it."),
    Verb(
        "revocations status",
        "inborn_cli.admin.revocations:status",
        "Say who has applied what, and when they were heard.",
    ),
    Verb("blocks list", "inborn_cli.admin.revocations:list_blocks", "List what is blocked."),
    Verb("findings list", "inborn_cli.admin.restore_findings:list_findings", "List what a restored CA did not know."),
    Verb(
        "findings accept",
        "inborn_cli.admin.restore_findings:accept",
        "Let an agent go on that renewed after the backup.",
    ),
    Verb("bundle show", "inborn_cli.admin.bundle:show", "Print the roots."),
    Verb("health", "inborn_cli.admin.health:health", "Take a throw-away key through all of the CA."),
    Verb("audit list", "inborn_cli.admin.audit:list_audit", "List the audit trail."),
    Verb("alarms list", "inborn_cli.admin.audit:list_alarms", "List the open alarms."),
    Verb("alarms ack", "inborn_cli.admin.audit:acknowledge", "Acknowledge an alarm."),
    Verb("svid fetch", "inborn_cli.workload.svid:fetch", "Show this process's identity, or write it to files."),
    Verb("svid watch", "inborn_cli.workload.svid:watch", "Print each rotation as it comes."),
    Verb(
        "svid alias", "inborn_cli.workload.svid:alias", "Print the DNS name by which stock TLS clients can pin an ID."
    ),
    Verb(
        "exec", "inborn_cli.workload.exec:execute", "Start a program once it has an identity, and keep its files fresh."
    ),
    Verb("files", "inborn_cli.servers.files:files", "Keep an identity in files, and make a server read them."),
    Verb(
        "config show", "inborn_cli.servers.config:show", "Print configuration for nginx, HAProxy, PostgreSQL or Envoy."
    ),
    Verb("why", "inborn_cli.workload.why:why", "Say which selectors a process has, and which entry misses by what."),
    Verb("doctor", "inborn_cli.doctor.doctor:doctor", "Check this host, and say what each finding cannot stop."),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status: 0 done, 1 refused or failed, 2 usage."""
    try:
        from inborn_cli.program import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "click":
            raise
        print("error: the command needs click; install it with: pip install 'inborn[cli]'", file=sys.stderr)
        return 1
    return run(arguments)
