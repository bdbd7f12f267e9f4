"""The table of slots holds any kind of SVID: here one that is a token, without chain and key."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import pytest

from inborn._internal.feed.feed_content import FeedEntry
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.spiffe_id import SpiffeId, parse_spiffe_id
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn_agent.cache.slot_table import SlotTable
from tests.rigs.certificates import NOW

LIFE = dt.timedelta(minutes=5)
UID = frozenset({parse_selector("unix:uid:1000")})
ENTRY = FeedEntry(
    id="7c9e6679-7425-40de-944b-e07fc1f90ae7",
    spiffe_id=parse_spiffe_id("spiffe://example.org/web"),
    selectors=UID,
    ttl=LIFE,
    revision=1,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSvid:
    """An identity that is a text. Revocation and renewal go by what stands in it."""

    text: str
    facts: CertificateFacts
    issued_at: dt.datetime | None = None

    @property
    def spiffe_id(self) -> SpiffeId:
        return self.facts.spiffe_id


class TokenTable(SlotTable[TokenSvid]):
    """Revoked are these serials, outdated what these keys signed."""

    def __init__(self) -> None:
        super().__init__(spread=lambda: 0.5)
        self.revoked: set[bytes] = set()
        self.bad_keys: set[bytes] = set()

    def why_revoked(self, facts: CertificateFacts) -> str | None:
        return f"token {facts.serial.hex()} is revoked" if facts.serial in self.revoked else None

    def is_outdated(self, facts: CertificateFacts) -> bool:
        return facts.authority in self.bad_keys


def token(number: int, *, now: dt.datetime = NOW, key: bytes = b"kid") -> TokenSvid:
    facts = CertificateFacts(
        spiffe_id=ENTRY.spiffe_id,
        serial=bytes([number]),
        key_hash=b"",
        authority=key,
        not_before=now,
        not_after=now + LIFE,
    )
    return TokenSvid(text=f"token-{number}", facts=facts)


@pytest.fixture
def table() -> TokenTable:
    """One subscriber matches one entry and has been given the first token."""
    table = TokenTable()
    table.change_entries([ENTRY], (), NOW)
    table.subscribe(1, UID, NOW)
    fetch(table, token(1), NOW)
    return table


def fetch(table: TokenTable, svid: TokenSvid, now: dt.datetime) -> None:
    (want,) = table.take_due(now, limit=10)
    assert table.issued(want, svid, now).notify == {1}


def shown(table: TokenTable, now: dt.datetime) -> list[str]:
    return [held.svid.text for held in table.view(1, now).held]


def test_a_token_is_given_and_renewed_at_half_of_its_life(table: TokenTable) -> None:
    assert shown(table, NOW) == ["token-1"]
    assert not table.take_due(NOW + LIFE / 3, limit=10)
    later = NOW + LIFE * 0.6
    fetch(table, token(2, now=later), later)
    assert shown(table, later) == ["token-2"]


def test_a_revoked_token_is_gone_and_asked_for_anew_at_once(table: TokenTable) -> None:
    table.revoked.add(b"\x01")
    assert shown(table, NOW) == []
    effects = table.expire(NOW)
    assert (effects.notify, [dropped.reason for dropped in effects.dropped]) == ({1}, ["token 01 is revoked"])
    fetch(table, token(2), NOW)
    assert shown(table, NOW) == ["token-2"]


def test_a_revoked_token_is_not_taken_from_the_ca(table: TokenTable) -> None:
    table.revoked |= {b"\x01", b"\x02"}
    table.expire(NOW)
    (want,) = table.take_due(NOW, limit=10)
    assert not table.issued(want, token(2), NOW).notify
    assert shown(table, NOW) == []


def test_a_token_of_a_key_that_is_not_good_any_more_is_held_until_the_next_one_is_there(table: TokenTable) -> None:
    table.bad_keys.add(b"kid")
    table.hurry_outdated(NOW)
    assert shown(table, NOW) == ["token-1"]
    fetch(table, token(2, key=b"another"), NOW)
    assert shown(table, NOW) == ["token-2"]
    assert not table.take_due(NOW, limit=10)


def test_an_expired_token_is_never_shown(table: TokenTable) -> None:
    assert shown(table, NOW + LIFE) == []
    assert [dropped.reason for dropped in table.expire(NOW + LIFE).dropped] == ["it has expired"]


def test_a_token_goes_with_its_entry(table: TokenTable) -> None:
    moved = replace(ENTRY, spiffe_id=parse_spiffe_id("spiffe://example.org/api"), revision=2)
    (dropped,) = table.change_entries([moved], (), NOW).dropped
    assert (dropped.svid, dropped.reason) == (token(1), "its entry has another SPIFFE ID")
    assert table.change_entries((), [ENTRY.id], NOW).notify == {1}
    assert table.held_count == 0


def test_a_token_that_was_kept_is_taken_back_unless_it_is_revoked() -> None:
    table = TokenTable()
    table.change_entries([ENTRY], (), NOW)
    table.revoked.add(b"\x01")
    assert not table.restore(ENTRY.id, 1, token(1), NOW)
    assert table.restore(ENTRY.id, 1, token(2), NOW)
    table.subscribe(1, UID, NOW)
    assert shown(table, NOW) == ["token-2"]
