"""What a daemon answers on its stream, and when it leaves a connection whose certificate is about to die."""

from __future__ import annotations

import datetime as dt

import pytest

from inborn._internal.feed.feed_answers import FeedAnswers
from inborn._internal.feed.feed_content import Authority, Heartbeat, NodeUpdate
from inborn._internal.feed.feed_verifier import FeedUpdate
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import UnavailableError
from inborn.testing import MemoryAuthority

NOW = dt.datetime.now(dt.UTC)
DAEMON = parse_spiffe_id("spiffe://example.org/db")


def update(*, is_new: bool = False, is_fresh: bool = True) -> FeedUpdate:
    beat = Heartbeat(revocation_seq=3, interval=dt.timedelta(seconds=5))
    change = NodeUpdate(snapshot=False, entries=(), removed=())
    return FeedUpdate(
        node=None, log_id=b"l" * 16, revision=7, made_at=NOW,
        content=change if is_new else beat, is_new=is_new, is_fresh=is_fresh,
    )  # fmt: skip


@pytest.fixture
def svid() -> X509Svid:
    return MemoryAuthority("example.org").svid(str(DAEMON))


def state_of(svid: X509Svid, state: AuthorityState) -> list[Authority]:
    return [Authority.of(svid.chain[1], state)]


def test_signs_of_life_are_answered_now_and_then_and_changes_at_once(svid: X509Svid) -> None:
    answers = FeedAnswers(lambda: 0.5)

    def at(monotonic: float, told: FeedUpdate) -> bool:
        return answers.answer(told, 3, monotonic, own=svid, connection=svid) is not None

    assert at(100.0, update())
    assert not at(104.9, update())
    assert at(104.9, update(is_new=True))
    assert at(105.1, update())
    assert not at(200.0, update(is_fresh=False))


def test_outdated_certificates_are_counted_until_the_connection_is_left(svid: X509Svid) -> None:
    answers = FeedAnswers(lambda: 0.5)
    other = MemoryAuthority("example.org").svid(str(DAEMON))
    answers.learn(state_of(svid, AuthorityState.RETIRED))
    assert not answers.is_outdated(svid)
    answers.learn(state_of(svid, AuthorityState.TAINTED))
    assert answers.is_outdated(svid)
    ack = answers.answer(update(is_new=True), 3, 0.0, own=svid, connection=svid)
    assert ack is not None
    assert ack.outdated == 2
    with pytest.raises(UnavailableError, match="is to be revoked"):
        answers.answer(update(), 3, 0.0, own=other, connection=svid)
    ack = answers.answer(update(is_new=True), 3, 0.0, own=other, connection=other)
    assert ack is not None
    assert ack.outdated == 0
