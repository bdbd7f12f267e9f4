"""`inborn agent list`, `inborn agent ban`, `inborn agent evict`. (`agent run` is the agent's own.)"""

from __future__ import annotations

import datetime as dt

import click

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.admin.revoke import carry_out, finish, preview_options, show_and_ask, wait_option, yes_option
from inborn_cli.admin.spread import call_patiently
from inborn_cli.options import REASON, admin_options, example, json_option
from inborn_cli.output import print_table_or_json, time_or_none, time_text
from inborn_proto import admin_pb2 as pb

__all__ = ["ban", "evict", "list_agents"]


@click.command(help="List the agents, and which revocation each has applied.\n\n" + example("inborn agent list"))
@json_option
@admin_options
def list_agents(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call(admin_methods.LIST_AGENTS, pb.ListAgentsRequest())
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
    help="End an agent: its certificates die, it cannot renew or enroll, whatever it shows, and all "
    "that it vouched for dies with it. 'inborn unblock' lets it enroll again.\n\n"
    "It shows what would be hit, asks where there is a terminal, and waits until all of it is killed.\n\n"
    + example("inborn agent ban web1 --reason 'stolen from the rack'")
)
@click.argument("agent")
@click.option("--reason", default="", help="Why, for the audit trail.")
@yes_option
@wait_option
@json_option
@admin_options
def ban(ca: AdminClient, agent: str, reason: str, is_sure: bool, wait: dt.timedelta | None, is_json: bool) -> None:
    target = f"agent:{agent}"
    show_and_ask(ca, pb.RevokeRequest(agent=agent), target, is_sure=is_sure, is_quiet=is_json)
    answer = call_patiently(ca, admin_methods.BAN_AGENT, pb.BanAgentRequest(agent=agent, reason=reason))
    finish(ca, target, answer, wait=wait, is_json=is_json, blocked="until 'inborn unblock': the agent is banned")


@click.command(
    help="Kill an agent's certificates and all that it vouched for, and block nothing: with a new token it may enroll "
    "again. (The agent of `inborn up`, and one that enrolls by x509pop, does by itself.)\n\n"
    "It shows what would be hit, asks where there is a terminal, and waits until all of it is killed.\n\n"
    + example("inborn agent evict web1 --reason keyCompromise --wait")
)
@click.argument("agent")
@click.option("--reason", type=REASON, default="unspecified", show_default=True, help="As in RFC 5280.")
@click.option("--note", default="", help="For the audit trail.")
@preview_options
@wait_option
@json_option
@admin_options
def evict(
    ca: AdminClient,
    agent: str,
    reason: str,
    note: str,
    is_dry_run: bool,
    expect_count: int | None,
    is_sure: bool,
    wait: dt.timedelta | None,
    is_json: bool,
) -> None:
    request = pb.RevokeRequest(
        agent=agent,
        reissue=True,
        reason="" if reason == "unspecified" else reason,
        note=note,
        expect_count=expect_count or 0,
    )
    carry_out(ca, request, f"agent:{agent}", is_dry_run=is_dry_run, is_sure=is_sure, wait=wait, is_json=is_json)
    if not is_dry_run and not is_json:
        say(f"it enrolls again with: inborn token create --agent {agent}")
