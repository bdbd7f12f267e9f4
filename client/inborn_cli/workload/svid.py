"""`inborn svid`: this process's own identity."""

from __future__ import annotations

import datetime as dt
import queue
from pathlib import Path

import click

from inborn._internal.host.talk import clean, say
from inborn._internal.source.snapshot import Snapshot
from inborn._internal.spiffe.spiffe_id import from_operator_input
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import RequestError
from inborn_cli.options import DURATION, example, json_option, socket_option
from inborn_cli.output import print_data, print_document, print_facts, print_line, time_text, until_text
from inborn_cli.workload.agent_connection import workload_endpoint
from inborn_cli.workload.identity_files import FileSet, identity_files
from inborn_cli.workload.own_identity import choose_svid, open_source, wait_for_identity

__all__ = ["alias", "fetch", "watch"]

# A source says at once when there is another identity; why there is none may change without a word.
_RECONSIDER = 1.0  # seconds


@click.command(
    help="Show this process's identity: SPIFFE ID, serial, validity. With --write, put it into files that change in "
    "one step: svid.pem (leaf first), key.pem (0600), bundle.pem, crl.pem.\n\n"
    + example("inborn svid fetch --write tls")
)
@click.option("--write", "directory", type=click.Path(path_type=Path), help="Write the files to this directory.")
@click.option("--hint", help="The identity with this hint, where there are several.")
@click.option("--timeout", type=DURATION, default="5s", show_default=True, help="How long to wait for an identity.")
@json_option
@socket_option
def fetch(
    directory: Path | None,
    hint: str | None,
    timeout: dt.timedelta,
    is_json: bool,
    socket: str | None,
    data_dir: Path | None,
) -> None:
    with open_source(workload_endpoint(socket, data_dir)) as source:
        snapshot = wait_for_identity(source, hint, timeout)
    chosen = choose_svid(snapshot, hint)
    if directory is not None:
        FileSet(directory.absolute()).write(identity_files(snapshot, chosen))
    shown = [chosen] if hint is not None or directory is not None else snapshot.svids
    if is_json:
        print_document([_document(svid) for svid in shown])
    else:
        now = dt.datetime.now(dt.UTC)
        for number, svid in enumerate(shown):
            if number:
                print_data("")
            _print(svid, now)
    if directory is not None:
        say(f"written to {directory}")


def _document(svid: X509Svid) -> dict[str, object]:
    """What can be said of an identity; never its key."""
    facts = svid.facts
    return {
        "spiffe_id": str(svid.spiffe_id),
        "serial": facts.serial.hex(),
        "not_before": time_text(facts.not_before),
        "not_after": time_text(facts.not_after),
        "hint": svid.hint,
        "alias": svid.spiffe_id.alias,
        "authority": facts.authority.hex(),
        "key_sha256": facts.key_hash.hex(),
    }


def _print(svid: X509Svid, now: dt.datetime) -> None:
    facts = svid.facts
    print_facts(
        [
            ("spiffe id", str(svid.spiffe_id)),
            ("serial", facts.serial.hex()),
            ("valid from", time_text(facts.not_before) or ""),
            ("valid until", until_text(facts.not_after, now=now)),
            ("hint", svid.hint),
        ]
    )


@click.command(
    help="Print each rotation as it comes, for ever: time, SPIFFE ID, serial, end. With --json one document a line, "
    "with all identities.\n\n" + example("inborn svid watch")
)
@json_option
@socket_option
def watch(is_json: bool, socket: str | None, data_dir: Path | None) -> None:
    arrived: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
    with open_source(workload_endpoint(socket, data_dir)) as source:
        unsubscribe = source.subscribe(arrived.put)
        try:
            snapshot = source.snapshot()
            last = snapshot.reason  # that the agent has not answered yet is no news
            while True:
                state = " ".join(svid.facts.serial.hex() for svid in snapshot.svids) or snapshot.reason
                if state and state != last:
                    _print_change(snapshot, is_json)
                    last = state
                try:
                    snapshot = arrived.get(timeout=_RECONSIDER)
                except queue.Empty:
                    snapshot = source.snapshot()
        finally:
            unsubscribe()


def _print_change(snapshot: Snapshot, is_json: bool) -> None:
    moment = time_text(dt.datetime.now(dt.UTC), timespec="milliseconds")
    if is_json:
        svids = [_document(svid) for svid in snapshot.svids]
        print_line({"at": moment, "svids": svids, "reason": snapshot.reason})
        return
    for svid in snapshot.svids:
        facts = svid.facts
        print_data(f"{moment}  {svid.spiffe_id}  serial {facts.serial.hex()}  until {time_text(facts.not_after)}")
    if not snapshot.svids:
        print_data(clean(f"{moment}  no identity: {snapshot.reason}"))


@click.command(
    help="Print the DNS name by which any TLS client that trusts the bundle can pin exactly this SPIFFE ID. Every "
    "certificate of the ID carries it. Asks nobody.\n\n" + example("inborn svid alias spiffe://example.org/db")
)
@click.argument("spiffe_id", metavar="ID")
@json_option
def alias(spiffe_id: str, is_json: bool) -> None:
    parsed = from_operator_input(spiffe_id)
    if not parsed.path:
        raise RequestError(f"id has no path, and no certificate carries it: {parsed}")
    if is_json:
        print_document({"spiffe_id": str(parsed), "alias": parsed.alias})
    else:
        print_data(parsed.alias)
