"""How old the knowledge of revocations may get: the judgement, and what connections do about it. Time is a fake."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import ssl
import threading
from collections.abc import Callable

import pytest

from inborn._internal.source.snapshot import StaticSource
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.tls.connections import Connection, Connections, Direction, live_peers
from inborn._internal.tls.context import InbornContext, client_context, server_context
from inborn._internal.tls.verified_socket import PeerRefused
from inborn._internal.verification.freshness import (
    Freshness,
    FreshnessPolicy,
    InvalidPolicy,
    KnowledgeExpired,
    WhenExpired,
)
from inborn._internal.verification.verify import authorize_any
from inborn.errors import InbornError, UnavailableError
from inborn.testing import MemoryAuthority

SERVER = "spiffe://example.org/server"
CLIENT = "spiffe://example.org/client"
OTHER = "spiffe://example.org/other"
EXPIRED = 301.0  # seconds without a word of the CA, one more than the default allows


class Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(authority: MemoryAuthority, clock: Clock) -> StaticSource:
    made = authority.source(SERVER)
    hear(made, clock)
    return made


def hear(source: StaticSource, clock: Clock) -> None:
    """The CA gives a sign of life now."""
    source.touch(dataclasses.replace(source.snapshot(), heard_at=clock.now))


@pytest.mark.parametrize(
    ("seconds", "freshness"),
    [
        (0, Freshness.FRESH),
        (15, Freshness.FRESH),
        (16, Freshness.STALE),
        (300, Freshness.STALE),
        (301, Freshness.EXPIRED),
        (None, Freshness.EXPIRED),
    ],
)
def test_age_is_judged(seconds: int | None, freshness: Freshness) -> None:
    age = None if seconds is None else dt.timedelta(seconds=seconds)
    assert FreshnessPolicy().judge(age) is freshness


@pytest.mark.parametrize(
    ("policy", "refuses_new", "refuses_open"),
    [(WhenExpired.OPEN, False, False), (WhenExpired.CLOSED, True, True), (WhenExpired.CLOSED_NEW, True, False)],
)
@pytest.mark.parametrize("age", [dt.timedelta(seconds=301), None])
def test_policy_says_what_is_refused(
    policy: WhenExpired, refuses_new: bool, refuses_open: bool, age: dt.timedelta | None
) -> None:
    chosen = FreshnessPolicy(when_expired=policy.value)
    for is_new, refuses in ((True, refuses_new), (False, refuses_open)):
        if refuses:
            with pytest.raises(KnowledgeExpired, match="not known to be current") as caught:
                chosen.check(age, is_new=is_new)
            assert isinstance(caught.value, UnavailableError)
        else:
            chosen.check(age, is_new=is_new)
    chosen.check(dt.timedelta(seconds=299), is_new=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FreshnessPolicy(when_expired="shut"),
        lambda: FreshnessPolicy(when_expired=""),
        lambda: FreshnessPolicy(stale_after=dt.timedelta(0)),
        lambda: FreshnessPolicy(expired_after=dt.timedelta(seconds=14)),
    ],
)
def test_policy_that_cannot_be_meant_is_refused(make: Callable[[], FreshnessPolicy]) -> None:
    with pytest.raises(InvalidPolicy):
        make()


class Peer:
    """An open connection of a peer, that remembers why it was closed."""

    def __init__(self, connections: Connections, svid: X509Svid) -> None:
        self.refusal: InbornError | None = None
        self.closed = threading.Event()
        facts, bundle = connections.verify(svid.chain)
        self.connection = Connection(facts=facts, chain=svid.chain, bundle=bundle, close=self._close)
        connections.add(self.connection)

    def _close(self, reason: InbornError) -> None:
        self.refusal = reason
        self.closed.set()


def enforcer(source: StaticSource, clock: Clock, when_expired: str) -> Connections:
    return Connections(
        source,
        authorize_any(),
        direction=Direction.INBOUND,
        freshness=FreshnessPolicy(when_expired=when_expired),
        monotonic=clock,
    )


def test_open_goes_on_with_what_it_knows_and_says_so_once(
    authority: MemoryAuthority, source: StaticSource, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    connections = enforcer(source, clock, "open")
    peer = Peer(connections, authority.svid(CLIENT))
    clock.now += EXPIRED
    with caplog.at_level(logging.WARNING, "inborn._internal.tls.connections"):
        for _ in range(3):
            connections.sweep()
            Peer(connections, authority.svid(OTHER))
    assert peer.refusal is None
    assert [record.message.count("heard 301 s ago") for record in caplog.records] == [1]
    authority.revoke(CLIENT)
    assert peer.refusal is not None, "what is known holds"


def test_silence_that_ends_and_comes_back_is_told_again(
    authority: MemoryAuthority, source: StaticSource, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    connections = enforcer(source, clock, "open")
    with caplog.at_level(logging.WARNING, "inborn._internal.tls.connections"):
        for _ in range(2):
            clock.now += EXPIRED
            connections.verify(authority.svid(CLIENT).chain)
            hear(source, clock)
            connections.verify(authority.svid(CLIENT).chain)
    assert len(caplog.records) == 2


def test_closed_refuses_what_is_new_and_closes_what_is_open(
    authority: MemoryAuthority, source: StaticSource, clock: Clock
) -> None:
    connections = enforcer(source, clock, "closed")
    peer = Peer(connections, authority.svid(CLIENT))
    clock.now += EXPIRED - 1
    connections.sweep()
    assert peer.refusal is None
    clock.now += 1
    with pytest.raises(KnowledgeExpired):
        connections.verify(authority.svid(OTHER).chain)
    connections.sweep()
    assert isinstance(peer.refusal, KnowledgeExpired)
    assert len(connections) == 0
    hear(source, clock)
    assert Peer(connections, authority.svid(CLIENT)).refusal is None


def test_closed_new_refuses_what_is_new_alone(authority: MemoryAuthority, source: StaticSource, clock: Clock) -> None:
    connections = enforcer(source, clock, "closed-new")
    peer = Peer(connections, authority.svid(CLIENT))
    clock.now += EXPIRED
    connections.sweep()
    assert peer.refusal is None
    with pytest.raises(KnowledgeExpired):
        connections.verify(authority.svid(OTHER).chain)


def test_source_that_never_heard_the_ca_is_refused_where_it_must_be_known(
    authority: MemoryAuthority, source: StaticSource, clock: Clock
) -> None:
    source.touch(dataclasses.replace(source.snapshot(), heard_at=None))
    enforcer(source, clock, "open").verify(authority.svid(CLIENT).chain)
    with pytest.raises(KnowledgeExpired, match="has not been heard yet"):
        enforcer(source, clock, "closed").verify(authority.svid(CLIENT).chain)


def test_open_connection_is_closed_when_the_silence_is_too_long_though_nothing_happens(
    authority: MemoryAuthority, source: StaticSource
) -> None:
    connections = Connections(
        source,
        authorize_any(),
        direction=Direction.INBOUND,
        freshness=FreshnessPolicy(
            when_expired="closed", stale_after=dt.timedelta(seconds=0.1), expired_after=dt.timedelta(seconds=0.2)
        ),
    )
    source.touch(authority.source(SERVER).snapshot())  # heard now, on the real clock
    peer = Peer(connections, authority.svid(CLIENT))
    assert peer.closed.wait(5)
    assert isinstance(peer.refusal, KnowledgeExpired)


@pytest.mark.parametrize("is_server_strict", [True, False])
def test_servers_and_clients_alike_refuse_a_handshake(
    authority: MemoryAuthority, source: StaticSource, clock: Clock, is_server_strict: bool
) -> None:
    strict = FreshnessPolicy(when_expired="closed")
    client = authority.source(CLIENT)
    hear(client, clock)
    contexts = [
        InbornContext(source, authorize_any(), server_side=True, freshness=strict, monotonic=clock),
        InbornContext(client, authorize_any(), server_side=False, monotonic=clock),
    ]
    if not is_server_strict:
        contexts = [
            InbornContext(source, authorize_any(), server_side=True, monotonic=clock),
            InbornContext(client, authorize_any(), server_side=False, freshness=strict, monotonic=clock),
        ]
    shake_hands(*contexts)
    clock.now += EXPIRED
    with pytest.raises(PeerRefused, match="not known to be current"):
        shake_hands(*contexts)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """TLS over buffers, both ends in this thread."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="server"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    waiting = set(ends)
    for end in (*ends, *ends, *ends):
        if end in waiting:
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return ends[1], ends[0]


LISTED_SERVER, LISTED_CLIENT = f"{SERVER}/listed", f"{CLIENT}/listed"  # nobody else's in this process


@pytest.fixture
def both_ends(authority: MemoryAuthority) -> list[ssl.SSLObject]:
    contexts = (
        server_context(authority.source(LISTED_SERVER), authorize_any()),
        client_context(authority.source(LISTED_CLIENT), authorize_any()),
    )
    return list(shake_hands(*contexts))


def test_live_peers_are_listed_from_both_ends_until_they_end(
    authority: MemoryAuthority, both_ends: list[ssl.SSLObject]
) -> None:
    mine = {peer.direction: peer for peer in live_peers() if str(peer.spiffe_id) in (LISTED_SERVER, LISTED_CLIENT)}
    assert mine[Direction.INBOUND].spiffe_id == parse_spiffe_id(LISTED_CLIENT)
    assert mine[Direction.OUTBOUND].spiffe_id == parse_spiffe_id(LISTED_SERVER)
    facts = both_ends[1].svid  # type: ignore[attr-defined]
    assert (mine[Direction.OUTBOUND].serial, mine[Direction.OUTBOUND].expires) == (facts.serial, facts.not_after)
    assert abs(mine[Direction.INBOUND].since - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    authority.revoke(LISTED_CLIENT)
    assert LISTED_CLIENT not in {str(peer.spiffe_id) for peer in live_peers()}
    assert LISTED_SERVER in {str(peer.spiffe_id) for peer in live_peers()}
    both_ends.clear()
    assert LISTED_SERVER not in {str(peer.spiffe_id) for peer in live_peers()}
