"""`inborn revoke`, `inborn unblock`, `inborn revocations list`."""

from __future__ import annotations

import datetime as dt
import sys
import time

import click

from inborn.admin import AdminClient
from inborn.cli.options import DURATION, REASON, SERIAL, SPIFFE_ID, admin_options, example, json_option
from inborn.cli.output import (
    as_document,
    print_data,
    print_document,
    print_facts,
    print_table,
    time_or_none,
    time_text,
)
from inborn.cli.talk import Progress, say, say_error
from inborn_proto import admin_pb2 as pb

__all__ = ["list_revocations", "revoke", "unblock"]

_DEFAULT_WAIT = "10s"
# On a terminal somebody looks at the count; elsewhere the CA may hold the call as long as it will.
_TERMINAL_STEP = dt.timedelta(milliseconds=250)
_QUIET_STEP = dt.timedelta(seconds=30)


@click.command(
    help="Kill certificates that exist: all of an ID, or one by serial. There is no lifting it.\n\n"
    "With --id the ID gets nothing new until 'inborn unblock'; with --reissue whoever is still attested gets a new "
    "one at once, for a new key.\n\n"
    + example("inborn revoke --id spiffe://example.org/web --reason keyCompromise --wait")
)
@click.option("--serial", type=SERIAL, help="The one certificate with this serial.")
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="All certificates of this ID.")
@click.option("--reason", type=REASON, default="unspecified", show_default=True, help="As in RFC 5280.")
@click.option("--reissue", is_flag=True, help="Do not block.")
@click.option("--note", default="", help="For the audit trail.")
@click.option(
    "--wait",
    type=DURATION,
    is_flag=False,
    flag_value=_DEFAULT_WAIT,
    metavar="[DURATION]",
    help=f"Return when every peer refuses it; exit 1 if some do not after this time ({_DEFAULT_WAIT}).",
)
@json_option
@admin_options
def revoke(
    ca: AdminClient,
    serial: str | None,
    spiffe_id: str | None,
    reason: str,
    reissue: bool,
    note: str,
    wait: dt.timedelta | None,
    is_json: bool,
) -> None:
    if (serial is None) == (spiffe_id is None):
        raise click.UsageError("exactly one of --serial and --id is needed")
    request = pb.RevokeRequest(
        serial=serial or "",
        spiffe_id=spiffe_id or "",
        reason="" if reason == "unspecified" else reason,
        reissue=reissue,
        note=note,
    )
    answer = ca.call_as("Revoke", request, pb.RevokeResponse)
    target = f"serial:{serial}" if serial else f"id:{spiffe_id}"
    if not is_json:
        _print_revoked(target, answer)
    spread = None if wait is None else _wait(ca, answer.revocation_seq, wait)
    if is_json:
        document = {"target": target, **as_document(answer)}
        if spread is not None:
            document["propagation"] = as_document(spread)
        print_document(document)
    if spread is None:
        return
    if spread.applied < spread.peers or spread.laggards:
        missing = ", ".join(spread.laggards) or "unnamed peers"
        say_error(f"applied by {spread.applied} of {spread.peers} peers; not yet by {missing}")
        click.get_current_context().exit(1)
    if not is_json:
        say(f"applied by every peer ({spread.peers})")


def _print_revoked(target: str, answer: pb.RevokeResponse) -> None:
    print_facts(
        [
            ("revoked", target),
            ("certificates", f"{answer.certificates} killed"),
            ("blocked", "until 'inborn unblock'" if answer.blocked else "no"),
            ("revocation", str(answer.revocation_seq)),
        ]
    )
    if answer.token:
        print_data(answer.token)
        say("the last line is a join token for the same ID, shown once")


def _wait(ca: AdminClient, seq: int, patience: dt.timedelta) -> pb.PropagationResponse:
    """Ask until every connected peer has applied `seq`, or patience ends; the last answer."""
    step = _TERMINAL_STEP if sys.stderr.isatty() else _QUIET_STEP
    end = time.monotonic() + patience.total_seconds()
    progress = Progress()
    try:
        while True:
            left = max(0.0, end - time.monotonic())
            wait_ms = round(1000 * min(left, step.total_seconds()))
            request = pb.PropagationRequest(revocation_seq=seq, wait_ms=wait_ms)
            answer = ca.call_as("GetPropagation", request, pb.PropagationResponse, timeout=wait_ms / 1000 + 30)
            if answer.applied >= answer.peers and not answer.laggards:
                return answer
            if wait_ms == 0:
                return answer
            progress.show(f"applied by {answer.applied} of {answer.peers} peers ...")
    finally:
        progress.end()


@click.command(
    help="Let something that is blocked be issued again. TARGET is as 'revocations list' prints it.\n\n"
    + example("inborn unblock --id spiffe://example.org/web")
)
@click.argument("target", required=False)
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="Instead of TARGET: this ID.")
@json_option
@admin_options
def unblock(ca: AdminClient, target: str | None, spiffe_id: str | None, is_json: bool) -> None:
    if (target is None) == (spiffe_id is None):
        raise click.UsageError("exactly one of TARGET and --id is needed")
    answer = ca.call_as("Unblock", pb.UnblockRequest(target=target or f"id:{spiffe_id}"), pb.UnblockResponse)
    if is_json:
        print_document(as_document(answer))
        return
    for block in answer.blocks:
        say(f"{block.target} is no longer blocked")


@click.command(
    help="List the revocations that a living certificate can match, and everything that is blocked.\n\n"
    + example("inborn revocations list --all")
)
@click.option("--all", "is_all", is_flag=True, help="Those that no living certificate can match as well.")
@json_option
@admin_options
def list_revocations(ca: AdminClient, is_all: bool, is_json: bool) -> None:
    answer = ca.call_as("ListRevocations", pb.ListRevocationsRequest(all=is_all), pb.ListRevocationsResponse)
    if is_json:
        print_document(as_document(answer))
        return
    if answer.revocations:
        print_table(
            ["REVOCATION", "TARGET", "REASON", "BLOCKS", "REVOKED", "BY", "NOTE"],
            [
                [
                    str(r.seq),
                    r.target,
                    r.reason,
                    "yes" if r.blocks else "",
                    time_text(time_or_none(r.revoked_at)) or "",
                    r.actor,
                    r.note,
                ]
                for r in answer.revocations
            ],
        )
    if answer.revocations and answer.blocks:
        print_data("")
    if answer.blocks:
        print_table(
            ["BLOCKED", "SINCE", "BY", "REVOCATION"],
            [
                [b.target, time_text(time_or_none(b.since)) or "", b.actor, str(b.revocation_seq or "")]
                for b in answer.blocks
            ],
        )
    if not answer.revocations and not answer.blocks:
        say("nothing is revoked or blocked")
