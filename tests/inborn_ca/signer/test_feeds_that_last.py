"""The feeds of a CA that runs for weeks, or whose clock is set."""

from __future__ import annotations

from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn_ca.front.known_domain import KnownDomain
from inborn_proto import feed_pb2
from tests.rigs.fixtures_ca import CaBench


def made_at(message: feed_pb2.FeedMessage) -> int:
    return feed_pb2.FeedBody.FromString(message.body).made_at_ms


def test_message_is_later_than_the_one_before_it_also_when_the_clock_was_set_back(ca_bench: CaBench) -> None:
    ca_bench.published.clear()
    ca_bench.feeds.heartbeat()
    ca_bench.clock.advance(hours=-1)
    ca_bench.feeds.heartbeat()
    first, second = (made_at(message) for _, message in ca_bench.published)
    assert second > first


def test_messages_under_an_older_log_certificate_are_not_handed_to_who_comes_back(ca_bench: CaBench) -> None:
    """They could not be verified once it has expired, and whoever was away would be shut out for good."""
    state = ca_bench.state
    domain = KnownDomain(X509Bundle(trust_domain=state.trust_domain, roots=state.bundle.roots), state.log_id)
    domain.restore(ca_bench.feeds.domain_snapshot())
    known = domain.revision
    ca_bench.published.clear()
    ca_bench.revoke(spiffe_id="spiffe://example.org/web")
    ((_, message),) = ca_bench.published
    domain.apply(message, b"rule")
    assert domain.since(state.log_id, known) == [b"rule"]
    ca_bench.clock.advance(days=4)
    ca_bench.run(ca_bench.feeds.certify_log_key)
    ca_bench.feeds.heartbeat()
    domain.apply(ca_bench.published[-1][1], b"heartbeat")
    assert domain.since(state.log_id, known) is None
    assert domain.since(state.log_id, domain.revision) == []
