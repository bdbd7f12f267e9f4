"""This process's own identity, for verbs that use it: a live source on the Workload API's socket."""

from __future__ import annotations

import datetime as dt
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inborn.errors import UnavailableError
from inborn.identity import IdentitySource, NoIdentity, Snapshot
from inborn.svid import X509Svid

__all__ = ["choose_svid", "open_source", "wait_for_identity"]


@contextmanager
def open_source(endpoint: Path) -> Iterator[IdentitySource]:
    """A live source, closed at the end. Has no identity at first: see `wait_for_identity`."""
    from inborn.source import X509Source

    with X509Source(endpoint) as source:
        yield source


def choose_svid(snapshot: Snapshot, hint: str | None) -> X509Svid:
    """The default identity, or the one with the hint. Raises `NoIdentity`."""
    if hint is None:
        return snapshot.svid(dt.datetime.now(dt.UTC))
    if not snapshot.svids:
        raise NoIdentity(f"no identity: {snapshot.reason or 'none was issued'}")
    for svid in snapshot.svids:
        if svid.hint == hint:
            return svid
    raise NoIdentity(f"no identity has the hint {hint!a}")


def wait_for_identity(source: IdentitySource, hint: str | None, patience: dt.timedelta) -> Snapshot:
    """The first snapshot that has the identity. Raises `NoIdentity` with the last reason when patience ends."""
    arrived: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
    unsubscribe = source.subscribe(arrived.put)
    try:
        end = time.monotonic() + patience.total_seconds()
        snapshot = source.snapshot()
        while True:
            try:
                choose_svid(snapshot, hint)
                return snapshot
            except UnavailableError as error:
                try:
                    snapshot = arrived.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    raise NoIdentity(error.message, hint="`inborn why` says which selectors this process has") from None
    finally:
        unsubscribe()
