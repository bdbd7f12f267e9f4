"""What a process is and whom it trusts, at one moment: `Snapshot`; and who gives it: `IdentitySource`.

Everything that does TLS here stands on these two. Agent, CA and tests have sources of their own.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.verification.verify import CLOCK_SKEW
from inborn.errors import UnavailableError, moment

__all__ = ["IdentitySource", "NoIdentity", "Snapshot", "SnapshotCallback", "StaticSource"]

log = logging.getLogger(__name__)


class NoIdentity(UnavailableError):
    """This process has no identity (now); the message quotes the reason that was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Never changes, with one exception: `revocations` is the live set, which knows no less than when this was made."""

    trust_domain: TrustDomain | None
    """This process's own; None: not known yet."""
    svids: tuple[X509Svid, ...]
    """The first is the one that is presented. None: the process has no identity."""
    bundles: Mapping[TrustDomain, X509Bundle]
    revocations: RevocationSet = field(default_factory=RevocationSet)
    crls: tuple[bytes, ...] = ()
    """DER, as given; for software that is not ours."""
    reason: str = ""
    """Why there is no identity."""
    heard_at: float | None = None
    """When the CA was last heard, on this machine's monotonic clock; None: not known."""

    def svid(self, now: dt.datetime) -> X509Svid:
        """The identity to present. Raises `NoIdentity` where there is none, or only ones that are not valid now."""
        for svid in self.svids:
            if now <= svid.leaf.not_valid_after_utc and svid.leaf.not_valid_before_utc <= now + CLOCK_SKEW:
                return svid
        if not self.svids:
            raise NoIdentity(f"no identity: {self.reason or 'none was issued'}")
        begins = min(svid.leaf.not_valid_before_utc for svid in self.svids)
        if begins > now + CLOCK_SKEW:
            raise NoIdentity(f"own certificate is valid from {moment(begins)}, now {moment(now)}: a clock was ahead")
        ended = max(svid.leaf.not_valid_after_utc for svid in self.svids)
        raise NoIdentity(f"own certificate expired at {ended:%Y-%m-%dT%H:%M:%SZ}, now {now:%Y-%m-%dT%H:%M:%SZ}")

    def age(self, monotonic: float) -> dt.timedelta | None:
        """How long ago the CA was heard; None: not known."""
        return None if self.heard_at is None else dt.timedelta(seconds=max(0.0, monotonic - self.heard_at))


SnapshotCallback = Callable[[Snapshot], None]


class IdentitySource(Protocol):
    """A live source of snapshots. May be used from any thread."""

    def snapshot(self) -> Snapshot:
        """The current one."""
        ...

    def subscribe(self, callback: SnapshotCallback) -> Callable[[], None]:
        """Call `callback`, in the source's own thread, with each snapshot that differs in more than its age, after
        `snapshot()` gives it. Returns what ends the subscription. The callback must not block or raise."""
        ...


class StaticSource:
    """A source whose owner puts the snapshots in: for identities that come from elsewhere, and for tests."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._callbacks: dict[object, SnapshotCallback] = {}

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def replace(self, snapshot: Snapshot) -> None:
        """Put a new one in place and tell the subscribers. To be called from one thread at a time."""
        self._snapshot = snapshot
        with self._lock:
            callbacks = list(self._callbacks.values())
        for callback in callbacks:
            try:
                callback(snapshot)
            except Exception:
                log.exception("snapshot callback failed")

    def touch(self, snapshot: Snapshot) -> None:
        """Put one in place that differs in its age alone: nobody is told."""
        self._snapshot = snapshot

    def subscribe(self, callback: SnapshotCallback) -> Callable[[], None]:
        token = object()
        with self._lock:
            self._callbacks[token] = callback

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks.pop(token, None)

        return unsubscribe
