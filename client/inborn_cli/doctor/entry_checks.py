"""What `inborn doctor` finds out about the entries of the CA on this host: those that rest on too little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.weakness import weaknesses
from inborn._internal.wire import admin_methods
from inborn.errors import DeniedError, InbornError, UnavailableError
from inborn_cli.doctor.host_checks import CheckResult, Verdict
from inborn_proto import admin_pb2 as pb

__all__ = ["check_entries"]

MAX_SHOWN = 20  # entries: what a person reads; their number is told


def check_entries(admin_socket: Path) -> Iterator[CheckResult]:
    """Nothing where no CA answers, or where it does not answer to this user."""
    try:
        with AdminClient(admin_socket) as ca:
            entries = ca.call(admin_methods.LIST_ENTRIES, pb.ListEntriesRequest()).entries
    except (UnavailableError, DeniedError):
        return
    weak = [(entry, found) for entry in entries if (found := _weaknesses(entry))]
    if not weak:
        yield CheckResult(name="entries", verdict=Verdict.OK, found=f"{len(entries)}, none of them rests on too little")
        return
    yield CheckResult(
        name="entries",
        verdict=Verdict.WARNING,
        found=f"{len(weak)} of {len(entries)} should be looked at"
        + (f", the first {MAX_SHOWN} are" if len(weak) > MAX_SHOWN else ""),
    )
    for entry, found in weak[:MAX_SHOWN]:
        yield CheckResult(
            name="entry",
            verdict=Verdict.WARNING,
            found=f"{entry.spiffe_id}: {'; '.join(found)}",
            hint=f"inborn entry show {entry.id}",
        )


def _weaknesses(entry: pb.Entry) -> list[str]:
    try:
        selectors = [parse_selector(text) for text in entry.selectors]
    except InbornError as error:
        return [f"it has a selector that this version cannot read: {error.message}"]
    return weaknesses(selectors, is_any_node=entry.node == "any")
