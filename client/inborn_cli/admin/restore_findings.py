"""`inborn findings`: what agents knew of a CA's former database, and the restored one did not."""

from __future__ import annotations

import click

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import admin_options, example, json_option
from inborn_cli.output import as_document, print_document, print_table_or_json, time_or_none, time_text
from inborn_proto import admin_pb2 as pb

__all__ = ["accept", "list_findings"]


@click.command(
    help="After 'inborn ca restore': what agents still know and the backup did not.\n\n"
    "Revocations hold from the moment that an agent reported them (--all lists them as well). A certificate is that of "
    "an agent which renewed or enrolled after the backup: it can do nothing until it is accepted.\n\n"
    + example("inborn findings list --all")
)
@click.option("--all", "is_all", is_flag=True, help="Those that are in force or accepted as well.")
@json_option
@admin_options
def list_findings(ca: AdminClient, is_all: bool, is_json: bool) -> None:
    findings: list[pb.Finding] = []
    more = True
    while more:
        request = pb.ListFindingsRequest(all=is_all, after_id=findings[-1].id if findings else 0)
        answer = ca.call(admin_methods.LIST_FINDINGS, request)
        findings.extend(answer.findings)
        more = answer.more and bool(answer.findings)
    headers = ["ID", "FOUND", "KIND", "SUBJECT", "REPORTED BY", "REVOCATION", "ACCEPTED"]
    rows = (
        [
            str(f.id),
            time_text(time_or_none(f.found_at)) or "",
            f.kind,
            f.subject,
            f.reporter,
            str(f.revocation_seq or ""),
            f"{time_text(time_or_none(f.accepted_at)) or ''} {f.accepted_by}".strip(),
        ]
        for f in findings
    )
    print_table_or_json(is_json, findings, headers, rows, none="no findings")


@click.command(
    help="Give an agent that renewed after the backup its place in the ledger back: it goes on with the certificate "
    "that it has."
    "\n\n" + example("inborn findings accept 3")
)
@click.argument("finding_id", metavar="ID", type=click.IntRange(1, 2**62))
@json_option
@admin_options
def accept(ca: AdminClient, finding_id: int, is_json: bool) -> None:
    finding = ca.call(admin_methods.ACCEPT_FINDING, pb.AcceptFindingRequest(id=finding_id))
    if is_json:
        print_document(as_document(finding))
    else:
        say(f"finding {finding.id} is accepted: {finding.reporter} goes on with certificate {finding.subject}")
