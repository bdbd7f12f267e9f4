"""`inborn certs`: the ledger of everything issued."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import click
from google.protobuf.timestamp_pb2 import Timestamp

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import MOMENT, SERIAL, SPIFFE_ID, admin_options, example, json_option
from inborn_cli.output import as_document, print_document, print_facts, print_table, time_or_none, time_text
from inborn_proto import admin_pb2 as pb

__all__ = ["list_certificates", "show"]

# What the CA gives at most in one answer; more is asked for page by page.
_PAGE = 1000


@click.command(
    help="List certificates in the order of their issue: those alive, unless --history says otherwise.\n\n"
    + example("inborn certs list --id spiffe://example.org/web --issued-after 1h")
)
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="Only those of this ID.")
@click.option("--node", help="Only those that this agent fetched: its ID or its name.")
@click.option("--entry", "entry_id", help="Only those issued for this entry.")
@click.option("--issued-after", type=MOMENT, help="A time in RFC 3339, or how long ago: 1h.")
@click.option("--issued-before", type=MOMENT, help="A time in RFC 3339, or how long ago: 1h.")
@click.option("--history", is_flag=True, help="The expired ones as well.")
@click.option("--limit", type=click.IntRange(0), default=1000, show_default=True, help="At most so many; 0 is all.")
@click.option("--after", "after_serial", type=SERIAL, help="Go on after this serial.")
@json_option
@admin_options
def list_certificates(
    ca: AdminClient,
    spiffe_id: str | None,
    node: str | None,
    entry_id: str | None,
    issued_after: dt.datetime | None,
    issued_before: dt.datetime | None,
    history: bool,
    limit: int,
    after_serial: str | None,
    is_json: bool,
) -> None:
    request = pb.ListCertificatesRequest(
        spiffe_id=spiffe_id or "",
        node=node or "",
        entry_id=entry_id or "",
        issued_after=_stamp(issued_after),
        issued_before=_stamp(issued_before),
        history=history,
        after_serial=after_serial or "",
    )
    if is_json:
        print_document([as_document(c) for page in _pages(ca, request, limit) for c in page])
        return
    is_first = True
    for page in _pages(ca, request, limit):
        rows = [
            [c.serial, c.spiffe_id, c.kind, _short_time(c.issued_at), _short_time(c.not_after), _state(c)] for c in page
        ]
        print_table(["SERIAL", "SPIFFE ID", "KIND", "ISSUED", "EXPIRES", "STATE"] if is_first else None, rows)
        is_first = False
    if is_first:
        say("no certificates")


def _pages(ca: AdminClient, request: pb.ListCertificatesRequest, limit: int) -> Iterator[list[pb.Certificate]]:
    """Whole pages, up to `limit` certificates in all; says on stderr where the rest begins."""
    left = limit
    while True:
        request.limit = min(left, _PAGE) if limit else _PAGE
        answer = ca.call(admin_methods.LIST_CERTIFICATES, request)
        page = list(answer.certificates)
        if page:
            yield page
            request.after_serial = page[-1].serial
        left -= len(page)
        if not answer.more or not page:
            return
        if limit and left <= 0:
            say(f"there are more: --after {request.after_serial}")
            return


def _stamp(moment: dt.datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _short_time(stamp: Timestamp) -> str:
    return time_text(time_or_none(stamp)) or ""


def _state(certificate: pb.Certificate) -> str:
    return f"revoked by {certificate.revoked_by}" if certificate.revoked_by else ""


@click.command(
    help="Show one certificate's row of the ledger, by its serial in hex.\n\n"
    + example("inborn certs show 0199c1d2e3f40000a1b2c3d4e5f60718293a4b")
)
@click.argument("serial", type=SERIAL)
@json_option
@admin_options
def show(ca: AdminClient, serial: str, is_json: bool) -> None:
    row = ca.call(admin_methods.GET_CERTIFICATE, pb.GetCertificateRequest(serial=serial))
    if is_json:
        print_document(as_document(row))
        return
    print_facts(
        [
            ("serial", row.serial),
            ("spiffe id", row.spiffe_id),
            ("kind", row.kind),
            ("entry", row.entry_id),
            ("node", row.node),
            ("selectors", row.selectors),
            ("key sha256", row.key_sha256),
            ("authority", row.authority),
            ("issued", _short_time(row.issued_at)),
            ("expires", _short_time(row.not_after)),
            ("state", _state(row)),
        ]
    )
