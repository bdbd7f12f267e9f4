"""`inborn revoke`, and the way that every verb goes which revokes: show, ask, do it once, follow it to its end."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from inborn._internal.host.talk import say, say_error, say_hint
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.admin.authority_steps import follow_authority, print_authority
from inborn_cli.admin.spread import call_patiently, follow_expansion, wait_until_applied
from inborn_cli.options import (
    DURATION,
    KEY,
    REASON,
    SELECTOR,
    SERIAL,
    SPIFFE_ID,
    admin_options,
    example,
    json_option,
)
from inborn_cli.output import as_document, print_data, print_document, print_facts
from inborn_cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["carry_out", "finish", "preview_options", "revoke", "show_and_ask", "wait_option", "yes_option"]

C = TypeVar("C", bound=Callable[..., Any])

_DEFAULT_WAIT = "10s"
_REQUEST_ID = 16  # bytes; whoever has the same number has the same command
_SHOWN = 5  # identities that a preview names before the question

# The request's field, and how a target of that kind is written.
_TARGETS: Mapping[str, str] = {
    "serial": "serial",
    "key": "key",
    "spiffe_id": "id",
    "id_prefix": "id-prefix",
    "entry": "entry",
    "agent": "agent",
    "selector": "selector",
    "authority": "authority",
}
_ONE_TARGET = "exactly one of " + ", ".join(f"--{label}" for label in _TARGETS.values()) + " is needed"


def wait_option(command: C) -> C:
    return click.option(
        "--wait",
        type=DURATION,
        is_flag=False,
        flag_value=_DEFAULT_WAIT,
        metavar="[DURATION]",
        help=f"Return when every peer refuses it; exit 1 if some do not after this time ({_DEFAULT_WAIT}).",
    )(command)


def yes_option(command: C) -> C:
    return click.option("--yes", "is_sure", is_flag=True, help="Do not ask (without a terminal nobody is asked).")(
        command
    )


def preview_options(command: C) -> C:
    """What a verb that revokes lets one say about what it shows and asks first."""
    for option in (
        yes_option,
        click.option(
            "--expect-count",
            type=click.IntRange(1, 2**32 - 1),
            help="How many living certificates it may hit, no more and no less; needed where it hits very many.",
        ),
        click.option("--dry-run", "is_dry_run", is_flag=True, help="Print what would be hit, change nothing."),
    ):
        command = option(command)
    return command


@click.command(
    help="Kill certificates that exist: all that one target names. There is no lifting it.\n\n"
    "What the target names gets nothing new either, until 'inborn unblock'; with --reissue whoever is still attested "
    "gets a new one at once, for a new key. (--serial blocks nothing; with the reason keyCompromise it means the key "
    "of that certificate.)\n\n"
    "It shows what would be hit, and asks where there is a terminal. Peers are told serials one by one of what they "
    "cannot see in a certificate (--entry, --agent, --selector): it waits until that is done. An issuing authority is "
    "replaced first, and whoever is connected renews; who is away must enroll again.\n\n"
    + example("inborn revoke --id spiffe://example.org/web --reason keyCompromise --wait")
)
@click.option("--serial", type=SERIAL, help="The one certificate with this serial.")
@click.option("--key", type=KEY, help="Every certificate of this public key: its SHA-256 in hex.")
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="All certificates of this ID.")
@click.option("--id-prefix", type=SPIFFE_ID, help="Those of this ID and of every ID below it.")
@click.option("--entry", help="Those issued for this registration entry.")
@click.option("--agent", help="Those of this agent and all that it vouched for: its ID or its name.")
@click.option("--selector", type=SELECTOR, help="All that were issued on this evidence: type:value.")
@click.option(
    "--authority", help="All that this issuing authority signed: its key identifier, as 'inborn status' names it."
)
@click.option("--reason", type=REASON, default="unspecified", show_default=True, help="As in RFC 5280.")
@click.option("--reissue", is_flag=True, help="Do not block.")
@click.option("--note", default="", help="For the audit trail.")
@preview_options
@wait_option
@json_option
@admin_options
def revoke(
    ca: AdminClient,
    /,
    reason: str,
    reissue: bool,
    note: str,
    is_dry_run: bool,
    expect_count: int | None,
    is_sure: bool,
    wait: dt.timedelta | None,
    is_json: bool,
    **targets: str | None,
) -> None:
    named = {field: value for field, value in targets.items() if value}
    if len(named) != 1:
        raise click.UsageError(_ONE_TARGET)
    ((field, value),) = named.items()
    request = pb.RevokeRequest(
        reason="" if reason == "unspecified" else reason, reissue=reissue, note=note, expect_count=expect_count or 0
    )
    setattr(request, field, value)
    target = f"{_TARGETS[field]}:{value}"
    carry_out(ca, request, target, is_dry_run=is_dry_run, is_sure=is_sure, wait=wait, is_json=is_json)


def carry_out(
    ca: AdminClient,
    request: pb.RevokeRequest,
    target: str,
    *,
    is_dry_run: bool,
    is_sure: bool,
    wait: dt.timedelta | None,
    is_json: bool,
) -> None:
    """Show what a revocation hits, ask, revoke, and follow it. Exits 1 if somebody has not applied it in time."""
    if is_dry_run:
        _print_preview(target, _look_ahead(ca, request), is_json=is_json)
        return
    show_and_ask(ca, request, target, is_sure=is_sure, is_quiet=is_json)
    request.request_id = os.urandom(_REQUEST_ID)
    finish(ca, target, call_patiently(ca, admin_methods.REVOKE, request), wait=wait, is_json=is_json)


def show_and_ask(ca: AdminClient, request: pb.RevokeRequest, target: str, *, is_sure: bool, is_quiet: bool) -> None:
    """Say what a revocation would hit, and ask where there is somebody to ask; exits 1 unless the answer is yes."""
    must_ask = not is_sure and sys.stdin.isatty()
    preview = _look_ahead(ca, request)
    if must_ask or not is_quiet:
        _say_preview(target, preview)
    if must_ask and not _confirmed(preview, request):
        say("nothing was changed")
        click.get_current_context().exit(1)


def _look_ahead(ca: AdminClient, request: pb.RevokeRequest) -> pb.RevokeResponse:
    asked = pb.RevokeRequest()
    asked.CopyFrom(request)
    asked.dry_run = True
    return ca.call(admin_methods.REVOKE, asked)


def _confirmed(preview: pb.RevokeResponse, request: pb.RevokeRequest) -> bool:
    """Where the CA wants to be told the number, the answer is that number, and goes into the request."""
    if not preview.needs_count or request.expect_count:
        return click.confirm("Revoke?", err=True)
    text = "These are very many. Type their number to go on"
    answer = click.prompt(text, default="no", show_default=False, err=True)
    if answer.strip() != str(preview.certificates):
        return False
    request.expect_count = preview.certificates
    return True


def finish(
    ca: AdminClient,
    target: str,
    answer: pb.RevokeResponse,
    *,
    wait: dt.timedelta | None,
    is_json: bool,
    blocked: str = "until 'inborn unblock'",
) -> None:
    """Follow what was revoked to its end, and print it. Exits 1 if somebody has not applied it in time."""
    if answer.authority:
        _finish_authority(ca, target, answer, wait=wait, is_json=is_json)
        return
    expanded = follow_expansion(ca, answer.expansion, answer.certificates) if answer.expansion else None
    seq = answer.revocation_seq
    if expanded is not None:
        target, seq = expanded.target, max(seq, expanded.revocation_seq)
    if not is_json:
        _print_revoked(target, answer, seq, blocked)
    _print_spread(ca, {"target": target, **as_document(answer), "revocation_seq": seq}, seq, wait, is_json=is_json)


def _finish_authority(
    ca: AdminClient, target: str, answer: pb.RevokeResponse, *, wait: dt.timedelta | None, is_json: bool
) -> None:
    done = follow_authority(ca, answer.authority)
    target = f"authority:{answer.authority}"
    if not is_json:
        print_authority(target, done)
    document = {"target": target, **as_document(answer), **as_document(done)}
    _print_spread(ca, document, done.revocation_seq, wait, is_json=is_json)


def _print_spread(
    ca: AdminClient, document: dict[str, Any], seq: int, wait: dt.timedelta | None, *, is_json: bool
) -> None:
    """Follow a revocation to the peers. Exits 1 if somebody has not applied it in time."""
    spread = None if wait is None else wait_until_applied(ca, seq, wait)
    if is_json:
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


def _hits(answer: pb.RevokeResponse) -> str:
    identities = "identity" if answer.identities == 1 else "identities"
    return (
        f"{count_of(answer.certificates, 'living certificate')} of {answer.identities} {identities}, "
        f"fetched by {count_of(answer.nodes, 'agent')}"
    )


def _say_preview(target: str, preview: pb.RevokeResponse) -> None:
    say(f"{target} hits {_hits(preview)}")
    if preview.identities > 1:
        for spiffe_id in preview.examples[:_SHOWN]:
            say(f"  {spiffe_id}")
        if preview.identities > _SHOWN:
            say(f"  and {preview.identities - _SHOWN} more")


def _print_preview(target: str, preview: pb.RevokeResponse, *, is_json: bool) -> None:
    if is_json:
        print_document({"target": target, **as_document(preview)})
    else:
        more = preview.identities - len(preview.examples)
        examples = [*preview.examples, f"and {more} more" if more > 0 and preview.examples else ""]
        print_facts(
            [
                ("would revoke", target),
                ("certificates", str(preview.certificates)),
                ("identities", str(preview.identities)),
                ("", examples),
                ("nodes", str(preview.nodes)),
            ]
        )
    if preview.needs_count:
        say_hint(f"these are very many: --expect-count {preview.certificates}")


def _print_revoked(target: str, answer: pb.RevokeResponse, seq: int, blocked: str) -> None:
    print_facts(
        [
            ("revoked", target),
            ("certificates", f"{answer.certificates} killed"),
            ("blocked", blocked if answer.blocked else "no"),
            ("revocation", str(seq)),
        ]
    )
    if answer.token:
        print_data(answer.token)
        say("the last line is a join token for the same ID, shown once")
