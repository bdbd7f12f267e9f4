"""This process's own identity, for verbs that use it: a live source on the Workload API's socket."""

from __future__ import annotations

import datetime as dt
import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

from inborn._internal.source.snapshot import IdentitySource, NoIdentity, Snapshot
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import UnavailableError

__all__ = ["choose_svid", "open_source", "wait_for_identity"]

_HINT = "`inborn why` says which selectors this process has"
_NO_AGENT = "is an agent running? `inborn status`; another socket is named by --socket or SPIFFE_ENDPOINT_SOCKET"


@contextmanager
def open_source(endpoint: str) -> Iterator[IdentitySource]:
    """A live source, closed at the end. It has no identity at first: see `wait_for_identity`."""
    from inborn._internal.source.x509_source import X509Source

    # What the source would log, the command says itself.
    logging.getLogger("inborn").setLevel(logging.CRITICAL)
    with X509Source(endpoint, timeout=0) as source:
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
                left = end - time.monotonic()
                if left <= 0:
                    raise NoIdentity(error.message, hint=_advice(error.message)) from None
                try:
                    snapshot = arrived.get(timeout=left)
                except queue.Empty:
                    snapshot = source.snapshot()  # which may know better by now why there is none
    finally:
        unsubscribe()


def _advice(reason: str) -> str:
    if "inborn why" in reason:
        return ""  # the agent has said so itself
    return _NO_AGENT if " does not answer: " in reason else _HINT
