"""How many callers a relay takes, and for how long: one uid cannot lock out the others."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from inborn.errors import ExhaustedError

__all__ = ["RelayAdmission", "RelayLimits", "TooManyConnections"]

# What one connection takes: its socket, two for the process, one to wait for its end, both ends of the inner
# connection; and one more while it is attested.
_DESCRIPTORS_FOR_ONE_CONNECTION = 7

# What the rest of the agent may need: its own connections, files and event loops.
_DESCRIPTORS_FOR_THE_REST = 128


class TooManyConnections(ExhaustedError):
    """A limit of the relay was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """Limits of one relay.

    Counted by uid because that is what a caller cannot choose. Not prevented: somebody with thousands of subordinate
    uids (user namespaces) who fills the relay from all of them.
    """

    connections: int = 2048
    """In all: more than the daemons of any one machine, each with its one connection."""
    connections_of_one_uid: int = 1024
    """Half of that: containers of one machine often share a uid."""
    unproven_of_one_uid: int = 768
    """Those still in their first steps, which take milliseconds: all containers of a machine may start at once."""
    proof: timedelta = timedelta(seconds=5)
    """From accept() to the answered PING: a swapped-out process has to wake up for it."""
    attestation: timedelta = timedelta(seconds=10)
    """A 64 MiB executable on a slow disk, and an engine that takes its two seconds."""

    def fitted_to_descriptors(self) -> RelayLimits:
        """Raise this process's limit of open files as far as allowed, and lower these limits to what it allows."""
        wanted = self.connections * _DESCRIPTORS_FOR_ONE_CONNECTION + _DESCRIPTORS_FOR_THE_REST
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            room = max(16, (soft - _DESCRIPTORS_FOR_THE_REST) // _DESCRIPTORS_FOR_ONE_CONNECTION)
            total = min(self.connections, room)
            return replace(
                self,
                connections=total,
                connections_of_one_uid=min(self.connections_of_one_uid, max(1, total // 2)),
                unproven_of_one_uid=min(self.unproven_of_one_uid, max(1, total // 4)),
            )
        return self


@dataclass(slots=True)
class _Share:
    connections: int = 0
    unproven: int = 0


@dataclass(slots=True)
class Ticket:
    """A place that is given back unless it is kept."""

    is_kept: bool = False

    def keep(self) -> None:
        """Keep the place until `RelayAdmission.left`."""
        self.is_kept = True


@dataclass(slots=True)
class RelayAdmission:
    """Counts the callers of a relay."""

    limits: RelayLimits
    _shares: dict[int, _Share] = field(default_factory=dict)
    _total: int = 0

    @contextmanager
    def ticket(self, uid: int) -> Iterator[Ticket]:
        """Take a place for a caller of `uid`, unproven. Raises `TooManyConnections`."""
        share = self._shares.get(uid, _Share())
        if self._total >= self.limits.connections:
            raise TooManyConnections(f"{self._total} connections, that is the limit")
        if share.connections >= self.limits.connections_of_one_uid:
            raise TooManyConnections(f"{share.connections} connections of uid {uid}, that is the limit")
        if share.unproven >= self.limits.unproven_of_one_uid:
            raise TooManyConnections(f"{share.unproven} silent connections of uid {uid}, that is the limit")
        share.connections += 1
        share.unproven += 1
        self._total += 1
        self._shares[uid] = share
        ticket = Ticket()
        try:
            yield ticket
        finally:
            if not ticket.is_kept:
                self.left(uid, was_proven=False)

    def proven(self, uid: int) -> None:
        """A caller has proven to be there."""
        self._shares[uid].unproven -= 1

    def left(self, uid: int, *, was_proven: bool) -> None:
        """A caller is gone."""
        share = self._shares[uid]
        share.connections -= 1
        share.unproven -= not was_proven
        self._total -= 1
        if share.connections == 0:
            del self._shares[uid]
