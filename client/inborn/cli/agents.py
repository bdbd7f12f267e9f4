"""`inborn agent list` and `inborn agent ban`. (`agent run` is the agent's own.)"""

from __future__ import annotations

import click

from inborn.admin import AdminClient
from inborn.cli.options import admin_options, example, json_option
from inborn.cli.output import as_document, print_document, print_table_or_json, time_or_none, time_text
from inborn.cli.talk import say
from inborn.cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["ban", "list_agents"]


@click.command(help="List the agents, and which revocation each has applied.\n\n" + example("inborn agent list"))
@json_option
@admin_options
def list_agents(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call_as("ListAgents", pb.ListAgentsRequest(), pb.ListAgentsResponse)
    headers = ["SPIFFE ID", "NAMES", "STATE", "STREAM", "SVID EXPIRES", "REVOCATIONS", "LAGGARDS"]
    rows = (
        [
            a.spiffe_id,
            " ".join([*filter(None, [a.name]), *(f"group:{group}" for group in a.groups)]),
            a.state,
            "open" if a.connected else "",
            time_text(time_or_none(a.svid_expires_at)) or "",
            str(a.revocation_seq),
            " ".join(a.laggards),
        ]
        for a in answer.agents
    )
    print_table_or_json(is_json, answer.agents, headers, rows, none="no agents")


@click.command(
    help="End an agent at once: its certificates die, it cannot renew, its token is spent.\n\n"
    "What it fetched for its workloads lives to its end, unless it is revoked.\n\n"
    + example("inborn agent ban web1 --reason 'stolen from the rack'")
)
@click.argument("agent")
@click.option("--reason", default="", help="Why, for the audit trail.")
@json_option
@admin_options
def ban(ca: AdminClient, agent: str, reason: str, is_json: bool) -> None:
    answer = ca.call_as("BanAgent", pb.BanAgentRequest(agent=agent, reason=reason), pb.RevokeResponse)
    if is_json:
        print_document(as_document(answer))
    else:
        killed = count_of(answer.certificates, "certificate")
        say(f"agent {agent} is banned: {killed} killed, revocation {answer.revocation_seq}")
