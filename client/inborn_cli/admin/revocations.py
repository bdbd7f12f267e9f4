"""`inborn revocations`, `inborn blocks`, `inborn unblock`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import click

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn.errors import NotFoundError
from inborn_cli.options import SPIFFE_ID, admin_options, example, json_option
from inborn_cli.output import (
    as_document,
    print_data,
    print_document,
    print_facts,
    print_table,
    print_table_or_json,
    time_or_none,
    time_text,
    until_text,
)
from inborn_proto import admin_pb2 as pb

__all__ = ["list_blocks", "list_revocations", "show", "status", "unblock"]

# What the CA gives at most in one answer; more is asked for page by page.
_PAGE = 1000

_MAX_SEQ = 2**63 - 1  # of the CA's database


@click.command(
    help="Let something that is blocked be issued again. TARGET is as 'blocks list' prints it.\n\n"
    + example("inborn unblock --id spiffe://example.org/web")
)
@click.argument("target", required=False)
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="Instead of TARGET: this ID.")
@json_option
@admin_options
def unblock(ca: AdminClient, target: str | None, spiffe_id: str | None, is_json: bool) -> None:
    if (target is None) == (spiffe_id is None):
        raise click.UsageError("exactly one of TARGET and --id is needed")
    answer = ca.call(admin_methods.UNBLOCK, pb.UnblockRequest(target=target or f"id:{spiffe_id}"))
    if is_json:
        print_document(as_document(answer))
        return
    for block in answer.blocks:
        say(f"{block.target} is no longer blocked")


@click.command(help="List what is blocked: it gets nothing new.\n\n" + example("inborn blocks list"))
@json_option
@admin_options
def list_blocks(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call(admin_methods.LIST_REVOCATIONS, pb.ListRevocationsRequest(limit=1))
    print_table_or_json(
        is_json, answer.blocks, _BLOCK_HEADERS, map(_block_row, answer.blocks), none="nothing is blocked"
    )


_BLOCK_HEADERS = ["BLOCKED", "SINCE", "BY", "REVOCATION"]


def _block_row(block: pb.Block) -> list[str]:
    return [block.target, time_text(time_or_none(block.since)) or "", block.actor, str(block.revocation_seq or "")]


@click.command(
    help="List the revocations that a living certificate can match, and everything that is blocked.\n\n"
    + example("inborn revocations list --all")
)
@click.option("--all", "is_all", is_flag=True, help="Those that no living certificate can match as well.")
@click.option("--limit", type=click.IntRange(0), default=1000, show_default=True, help="At most so many; 0 is all.")
@click.option("--after", "after_seq", type=click.IntRange(0, _MAX_SEQ), default=0, help="Go on after this revocation.")
@json_option
@admin_options
def list_revocations(ca: AdminClient, is_all: bool, limit: int, after_seq: int, is_json: bool) -> None:
    pages = _pages(ca, pb.ListRevocationsRequest(all=is_all, after_seq=after_seq), limit)
    if is_json:
        whole = next(pages)
        for page in pages:
            whole.revocations.extend(page.revocations)
        document = as_document(whole)
        del document["more"]  # of the pages, and they are all here
        print_document(document)
        return
    blocks: list[pb.Block] = []
    is_first = True
    for page in pages:
        blocks += page.blocks
        if page.revocations:
            headers = ["REVOCATION", "TARGET", "REASON", "BLOCKS", "REVOKED", "BY", "NOTE"] if is_first else None
            print_table(headers, map(_revocation_row, page.revocations))
            is_first = False
    if blocks:
        if not is_first:
            print_data("")
        print_table(_BLOCK_HEADERS, map(_block_row, blocks))
    elif is_first:
        say("nothing is revoked or blocked")


def _revocation_row(revocation: pb.Revocation) -> list[str]:
    return [
        str(revocation.seq),
        revocation.target,
        revocation.reason,
        "yes" if revocation.blocks else "",
        time_text(time_or_none(revocation.revoked_at)) or "",
        revocation.actor,
        revocation.note,
    ]


def _pages(ca: AdminClient, request: pb.ListRevocationsRequest, limit: int) -> Iterator[pb.ListRevocationsResponse]:
    """One page or more, up to `limit` revocations in all; says on stderr where the rest begins."""
    left = limit
    while True:
        request.limit = min(left, _PAGE) if limit else _PAGE
        page = ca.call(admin_methods.LIST_REVOCATIONS, request)
        yield page
        left -= len(page.revocations)
        if not page.more or not page.revocations:
            return
        request.after_seq = page.revocations[-1].seq
        if limit and left <= 0:
            say(f"there are more: --after {request.after_seq}")
            return


@click.command(
    help="Show one revocation by its number: what it killed, by whom, and who has applied it.\n\n"
    + example("inborn revocations show 17")
)
@click.argument("seq", type=click.IntRange(1, _MAX_SEQ))
@json_option
@admin_options
def show(ca: AdminClient, seq: int, is_json: bool) -> None:
    request = pb.ListRevocationsRequest(all=True, after_seq=seq - 1, limit=1)
    found = ca.call(admin_methods.LIST_REVOCATIONS, request)
    if not found.revocations or found.revocations[0].seq != seq:
        raise NotFoundError(f"there is no revocation {seq}, the last one is {found.revocation_seq}")
    revocation = found.revocations[0]
    spread = _spread_of(ca, seq)
    if is_json:
        print_document({**as_document(revocation), "propagation": as_document(spread)})
        return
    print_facts(
        [
            ("revocation", str(revocation.seq)),
            ("target", revocation.target),
            ("reason", revocation.reason),
            ("blocks", "yes" if revocation.blocks else "no"),
            ("revoked", f"{time_text(time_or_none(revocation.revoked_at))} by {revocation.actor}"),
            ("note", revocation.note),
            ("in the list", f"until {time_text(time_or_none(revocation.alive_until))} or longer"),
            ("applied", f"by {spread.applied} of {spread.peers} connected peers"),
            ("not yet by", list(spread.laggards)),
        ]
    )


def _spread_of(ca: AdminClient, seq: int) -> pb.PropagationResponse:
    """Who has applied it now."""
    return ca.call(admin_methods.GET_PROPAGATION, pb.PropagationRequest(revocation_seq=seq))


@click.command(
    help="Say how long the revocation log is, and for each agent how much of it has been applied there, by the agent "
    "and by the programs behind it, and when it said so last. It says so when there is something new.\n\n"
    + example("inborn revocations status")
)
@json_option
@admin_options
def status(ca: AdminClient, is_json: bool) -> None:
    now = dt.datetime.now(dt.UTC)
    log = ca.call(admin_methods.GET_STATUS, pb.StatusRequest())
    spread = _spread_of(ca, log.revocation_seq)
    agents = ca.call(admin_methods.LIST_AGENTS, pb.ListAgentsRequest()).agents
    if is_json:
        print_document(
            {
                "log_id": log.log_id,
                "revocation_seq": log.revocation_seq,
                "propagation": as_document(spread),
                "agents": [as_document(agent) for agent in agents],
            }
        )
        return
    print_facts(
        [
            ("revocations", str(log.revocation_seq)),
            ("log", log.log_id),
            ("applied", f"by {spread.applied} of {spread.peers} connected peers (agents and enrolled daemons)"),
            ("not yet by", list(spread.laggards)),
        ]
    )
    if agents:
        print_data("")
        print_table(
            ["AGENT", "STREAM", "APPLIED", "HEARD", "LAGGARDS"],
            [
                [
                    agent.name or agent.spiffe_id,
                    "open" if agent.connected else agent.state if agent.state != "active" else "",
                    str(agent.revocation_seq) if agent.HasField("heard_at") else "",
                    until_text(time_or_none(agent.heard_at), now=now),
                    ", ".join(agent.laggards),
                ]
                for agent in agents
            ],
        )
