"""How fresh the knowledge of revocations is, and what follows when it is not.

The CA gives a sign of life every few seconds. Somebody who keeps it away from a peer keeps every new revocation away as
well, and whether the peer goes on then is a choice: `FreshnessPolicy`, one for each server context, client context or
interceptor. Ages are differences of this machine's monotonic clock, so that setting the wall clock changes nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import Enum, StrEnum

from inborn.errors import RequestError, UnavailableError

__all__ = ["DEFAULT_FRESHNESS", "Freshness", "FreshnessPolicy", "InvalidPolicy", "KnowledgeExpired", "WhenExpired"]

STALE_AFTER = dt.timedelta(seconds=15)
"""Three heartbeats of the CA, which come every five seconds."""
EXPIRED_AFTER = dt.timedelta(minutes=5)
"""Longer than the CA's restart, an update of the machine it runs on, or a short cut of the network."""


class InvalidPolicy(RequestError):
    """A freshness policy that cannot be meant."""


class KnowledgeExpired(UnavailableError):
    """The CA has not been heard for too long to know who is revoked, and the policy is to refuse then."""


class Freshness(Enum):
    """What an age means under a policy."""

    FRESH = "fresh"
    STALE = "stale"
    """Something is wrong: the CA, the agent or the way to it. Nothing is refused yet."""
    EXPIRED = "expired"
    """Too long, or not known: the agent has not heard the CA since it was started, or it is not Inborn's."""


class WhenExpired(StrEnum):
    """What an enforcer does when its knowledge has expired."""

    OPEN = "open"
    """The last known revocations hold, and a warning is logged once."""
    CLOSED = "closed"
    """New and open connections and calls are refused."""
    CLOSED_NEW = "closed-new"
    """New connections and calls are refused, those that are open go on; the last known revocations hold for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessPolicy:
    """A choice for one server, client or interceptor. `when_expired` may be given by name: "open", "closed",
    "closed-new". Raises `InvalidPolicy`.

    The default suits a data plane: an outage of the CA is none of the services, and a revocation that cannot be heard
    is enforced by the end of the certificate.
    """

    when_expired: WhenExpired | str = WhenExpired.OPEN
    stale_after: dt.timedelta = STALE_AFTER
    expired_after: dt.timedelta = EXPIRED_AFTER

    def __post_init__(self) -> None:
        if self.when_expired not in list(WhenExpired):
            raise InvalidPolicy(
                f"when_expired is {str(self.when_expired)[:40]!a}, must be one of {', '.join(WhenExpired)}"
            )
        if not dt.timedelta(0) < self.stale_after <= self.expired_after:
            raise InvalidPolicy(
                f"stale_after is {self.stale_after} and expired_after {self.expired_after}: "
                "they must be positive, the second no shorter than the first"
            )

    def judge(self, age: dt.timedelta | None) -> Freshness:
        """What the age of `Snapshot.age` means; None (not known) counts as expired."""
        if age is None or age > self.expired_after:
            return Freshness.EXPIRED
        return Freshness.STALE if age > self.stale_after else Freshness.FRESH

    def check(self, age: dt.timedelta | None, *, is_new: bool) -> None:
        """Raise `KnowledgeExpired` if something new (`is_new`), or something that is open, must be refused now."""
        if self.when_expired == WhenExpired.OPEN or self.judge(age) is not Freshness.EXPIRED:
            return
        if is_new or self.when_expired == WhenExpired.CLOSED:
            raise KnowledgeExpired(
                f"revocations are not known to be current: {heard(age)}, at most {self.expired_after} is allowed",
                hint="look at the agent and the CA: `inborn status`",
            )


DEFAULT_FRESHNESS = FreshnessPolicy()


def heard(age: dt.timedelta | None) -> str:
    """The age in words."""
    return "the CA has not been heard yet" if age is None else f"the CA was heard {age.total_seconds():.0f} s ago"
