"""`inborn health`: whether the CA can do its work now, found out by doing it."""

from __future__ import annotations

import click

from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import admin_options, example, json_option
from inborn_cli.output import as_document, print_document, print_table
from inborn_proto import admin_pb2 as pb

__all__ = ["health"]

# A CA that works under load is slow, not ill.
_PATIENCE = 15.0  # seconds: the probes have five, and the disk may be slow


@click.command(
    help="Take a throw-away key through every step of issuing, and ask the ports whether they answer. "
    "Exits 1 if something does not work.\n\n" + example("inborn health --json")
)
@json_option
@admin_options
def health(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call(admin_methods.CHECK_HEALTH, pb.CheckHealthRequest(), timeout=_PATIENCE)
    if is_json:
        print_document(as_document(answer))
    else:
        rows = [[c.name, "ok" if c.healthy else "FAILED", f"{c.milliseconds:.1f} ms", c.detail] for c in answer.checks]
        print_table(["CHECK", "RESULT", "TIME", "DETAIL"], rows)
    if not answer.healthy:
        click.get_current_context().exit(1)
