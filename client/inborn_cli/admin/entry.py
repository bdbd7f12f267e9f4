"""`inborn entry`: which process, on which node, is which SPIFFE ID."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import click
from click.core import ParameterSource

from inborn._internal.host.talk import say, say_warning
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import DURATION, LIFE, SPIFFE_ID, admin_options, example, json_option, whole_seconds
from inborn_cli.output import (
    as_document,
    print_data,
    print_document,
    print_facts,
    print_table_or_json,
    time_or_none,
    time_text,
)
from inborn_cli.typed_values import format_duration_seconds
from inborn_proto import admin_pb2 as pb

__all__ = ["create", "delete", "list_entries", "show", "update"]

_revoke_option = click.option(
    "--revoke-when-lost/--no-revoke-when-lost",
    help="Whether the agent revokes what a process had that ends, becomes another program, or loses a selector or what "
    "a posture policy demands.",
)


@click.command(
    help="Say that whoever has all these selectors, on this node, is this SPIFFE ID; print the entry's ID.\n\n"
    + example(
        "inborn entry create --id spiffe://example.org/web --selector unix:uid:1000 --selector unix:path:/opt/web"
    )
)
@click.option("--id", "spiffe_id", type=SPIFFE_ID, required=True, help="The ID that it gives.")
@click.option("--selector", "selectors", multiple=True, required=True, help="TYPE:VALUE; all given must be there.")
@click.option(
    "--node", help="An agent's ID or name, group:NAME, selector:TYPE:VALUE, or any (default: the agent of 'inborn up')."
)
@click.option("--ttl", type=LIFE, help="Life of its certificates (default: 1h).")
@click.option("--dns", "dns_names", multiple=True, help="DNS name in its certificates; may be given again.")
@click.option("--cn", "common_name", help="Common name in its certificates, for software that asks for one.")
@click.option("--hint", help="A word for the workload: what this identity is for.")
@_revoke_option
@json_option
@admin_options
def create(
    ca: AdminClient,
    spiffe_id: str,
    selectors: tuple[str, ...],
    node: str | None,
    ttl: dt.timedelta | None,
    dns_names: tuple[str, ...],
    common_name: str | None,
    hint: str | None,
    revoke_when_lost: bool,
    is_json: bool,
) -> None:
    request = pb.CreateEntryRequest(
        spiffe_id=spiffe_id,
        selectors=selectors,
        node=node or "",
        ttl_seconds=whole_seconds(ttl),
        dns_names=dns_names,
        common_name=common_name or "",
        hint=hint or "",
        revoke_when_lost=revoke_when_lost,
    )
    _print_entry(ca.call(admin_methods.CREATE_ENTRY, request), is_json)


def _print_entry(answer: pb.EntryResponse, is_json: bool) -> None:
    """The ID of what was written, and what the CA thinks of it."""
    if is_json:
        print_document(as_document(answer))
    else:
        print_data(answer.entry.id)
    for warning in answer.warnings:
        say_warning(warning)


@click.command(help="List the entries.\n\n" + example("inborn entry list --node web1"))
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="Only those that give this ID.")
@click.option("--node", help="Only those of this node, as entries name it.")
@click.option("--selector", help="Only those with this selector.")
@json_option
@admin_options
def list_entries(ca: AdminClient, spiffe_id: str | None, node: str | None, selector: str | None, is_json: bool) -> None:
    request = pb.ListEntriesRequest(spiffe_id=spiffe_id or "", node=node or "", selector=selector or "")
    answer = ca.call(admin_methods.LIST_ENTRIES, request)
    headers = ["ID", "SPIFFE ID", "NODE", "TTL", "SELECTORS"]
    rows = (
        [e.id, e.spiffe_id, e.node, format_duration_seconds(e.ttl_seconds), " ".join(e.selectors)]
        for e in answer.entries
    )
    print_table_or_json(is_json, answer.entries, headers, rows, none="no entries")


@click.command(help="Show one entry.\n\n" + example("inborn entry show 0b7f4a4e-63e6-4b9c-8d58-2d5f0a1f5a51"))
@click.argument("entry_id", metavar="ID")
@json_option
@admin_options
def show(ca: AdminClient, entry_id: str, is_json: bool) -> None:
    answer = ca.call(admin_methods.GET_ENTRY, pb.EntryRequest(id=entry_id))
    if is_json:
        print_document(as_document(answer))
        return
    entry = answer.entry
    print_facts(
        [
            ("id", entry.id),
            ("spiffe id", entry.spiffe_id),
            ("node", entry.node),
            ("selectors", entry.selectors),
            ("ttl", format_duration_seconds(entry.ttl_seconds)),
            ("dns names", entry.dns_names),
            ("common name", entry.common_name),
            ("hint", entry.hint),
            ("demands", [demand.replace("|", " or ") for demand in entry.demands]),
            ("revoked when lost", "yes" if entry.revoke_when_lost else ""),
            ("revision", str(entry.revision)),
            ("created", time_text(time_or_none(entry.created_at)) or ""),
            ("updated", time_text(time_or_none(entry.updated_at)) or ""),
        ]
    )
    for warning in answer.warnings:
        say_warning(warning)


# Option of `entry update` -> how the request names what is meant.
_CHANGES = {
    "selectors": "selectors",
    "node": "node",
    "ttl": "ttl",
    "dns_names": "dns",
    "common_name": "cn",
    "hint": "hint",
    "revoke_when_lost": "revoke",
}


@click.command(
    help="Change an entry: what is given replaces what was there, the rest stays. An empty value takes away.\n\n"
    + example("inborn entry update 0b7f4a4e-63e6-4b9c-8d58-2d5f0a1f5a51 --ttl 30m --dns web.example.org")
)
@click.argument("entry_id", metavar="ID")
@click.option("--selector", "selectors", multiple=True, help="TYPE:VALUE; those given replace all.")
@click.option("--node", help="An agent's ID or name, group:NAME, selector:TYPE:VALUE, or any.")
@click.option("--ttl", type=DURATION, help="Life of its certificates; 0 is the default.")
@click.option("--dns", "dns_names", multiple=True, help="DNS name in its certificates; those given replace all.")
@click.option("--cn", "common_name", help="Common name in its certificates.")
@click.option("--hint", help="A word for the workload.")
@_revoke_option
@json_option
@admin_options
def update(
    ca: AdminClient,
    entry_id: str,
    selectors: tuple[str, ...],
    node: str | None,
    ttl: dt.timedelta | None,
    dns_names: tuple[str, ...],
    common_name: str | None,
    hint: str | None,
    revoke_when_lost: bool,
    is_json: bool,
) -> None:
    context = click.get_current_context()
    given = [
        name
        for option, name in _CHANGES.items()
        if context.get_parameter_source(option) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)
    ]
    if not given:
        raise click.UsageError("nothing to change: give at least one option")
    request = pb.UpdateEntryRequest(
        id=entry_id,
        set=given,
        selectors=_without_empty(selectors),
        node=node or "",
        ttl_seconds=whole_seconds(ttl),
        dns_names=_without_empty(dns_names),
        common_name=common_name or "",
        hint=hint or "",
        revoke_when_lost=revoke_when_lost,
    )
    _print_entry(ca.call(admin_methods.UPDATE_ENTRY, request), is_json)


def _without_empty(values: Sequence[str]) -> list[str]:
    return [value for value in values if value]


@click.command(
    help="Delete an entry. What was issued for it lives to its end: 'inborn revoke' kills it.\n\n"
    + example("inborn entry delete 0b7f4a4e-63e6-4b9c-8d58-2d5f0a1f5a51")
)
@click.argument("entry_id", metavar="ID")
@json_option
@admin_options
def delete(ca: AdminClient, entry_id: str, is_json: bool) -> None:
    answer = ca.call(admin_methods.DELETE_ENTRY, pb.EntryRequest(id=entry_id))
    if is_json:
        print_document(as_document(answer))
    else:
        say(f"entry {answer.entry.id} for {answer.entry.spiffe_id} is deleted")
    for warning in answer.warnings:
        say_warning(warning)
