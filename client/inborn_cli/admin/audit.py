"""`inborn audit` and `inborn alarms`: who changed what, and what somebody has to look at."""

from __future__ import annotations

import click

from inborn._internal.host.talk import clean, say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import admin_options, example, json_option
from inborn_cli.output import (
    as_document,
    print_data,
    print_document,
    print_line,
    print_table_or_json,
    time_or_none,
    time_text,
)
from inborn_proto import admin_pb2 as pb

__all__ = ["acknowledge", "list_alarms", "list_audit"]

# The CA lets a call wait so long at most; then it is made again.
_WAIT_MS = 30_000


@click.command(
    help="List the newest rows of the audit trail, oldest first: time, action, subject, actor, details.\n\n"
    + example("inborn audit list --action entry. --follow")
)
@click.option("--action", default="", help="Only actions that begin with this.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option("--after", "after_id", type=click.IntRange(0), help="Instead of the newest, those after this row's ID.")
@click.option("--follow", is_flag=True, help="Go on with what comes; with --json, one document a line.")
@json_option
@admin_options
def list_audit(ca: AdminClient, action: str, limit: int, after_id: int | None, follow: bool, is_json: bool) -> None:
    request = pb.ListAuditRequest(action=action, limit=limit, after_id=after_id or 0, newest=after_id is None)
    rows = _rows(ca, request)
    if not follow:
        if is_json:
            print_document([as_document(row) for row in rows])
        else:
            _print_rows(rows)
            if not rows:
                say("no rows")
        return
    last = after_id or 0
    while True:
        for row in rows:
            if is_json:
                print_line(as_document(row))
            else:
                _print_rows([row])
            last = row.id
        rows = _rows(ca, pb.ListAuditRequest(action=action, after_id=last, wait_ms=_WAIT_MS))


def _rows(ca: AdminClient, request: pb.ListAuditRequest) -> list[pb.AuditRow]:
    answer = ca.call(admin_methods.LIST_AUDIT, request, timeout=_WAIT_MS / 1000 + 30)
    return sorted(answer.rows, key=lambda row: row.id)


def _print_rows(rows: list[pb.AuditRow]) -> None:
    for row in rows:
        actor = f"by {row.actor}" + (f" from {row.origin}" if row.origin else "")
        detail = row.detail if row.detail != "{}" else ""
        count = f"x{row.count}" if row.count > 1 else ""
        parts = [time_text(time_or_none(row.at)) or "", row.action, row.subject, actor, detail, count]
        print_data(clean("  ".join(part for part in parts if part)))


@click.command(
    help="List the open alarms. Each stays open until somebody acknowledges it.\n\n"
    + example("inborn alarms list --all")
)
@click.option("--all", "is_all", is_flag=True, help="Acknowledged ones as well.")
@json_option
@admin_options
def list_alarms(ca: AdminClient, is_all: bool, is_json: bool) -> None:
    answer = ca.call(admin_methods.LIST_ALARMS, pb.ListAlarmsRequest(all=is_all))
    headers = ["ID", "OPENED", "KIND", "SUBJECT", "COUNT", "MESSAGE", "ACKNOWLEDGED"]
    rows = (
        [
            str(a.id),
            time_text(time_or_none(a.opened_at)) or "",
            a.kind,
            a.subject,
            str(a.count),
            a.message,
            f"{time_text(time_or_none(a.acknowledged_at)) or ''} {a.acknowledged_by}".strip(),
        ]
        for a in answer.alarms
    )
    print_table_or_json(is_json, answer.alarms, headers, rows, none="no alarms")


@click.command(
    help="Acknowledge an alarm: it is closed, and comes again if its cause does.\n\n" + example("inborn alarms ack 3")
)
@click.argument("alarm_id", metavar="ID", type=click.IntRange(1))
@json_option
@admin_options
def acknowledge(ca: AdminClient, alarm_id: int, is_json: bool) -> None:
    alarm = ca.call(admin_methods.ACKNOWLEDGE_ALARM, pb.AcknowledgeAlarmRequest(id=alarm_id))
    if is_json:
        print_document(as_document(alarm))
    else:
        say(f"alarm {alarm.id} ({alarm.kind}) is acknowledged")
