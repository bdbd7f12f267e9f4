"""`X509Source` against an agent that says what the test tells it to."""

from __future__ import annotations

import datetime as dt
import queue
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.source.snapshot import NoIdentity, Snapshot
from inborn._internal.source.workload_api import BadEndpoint, default_socket, parse_endpoint
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.x509_svid import X509Svid, read_certificate
from inborn.testing import MemoryAuthority
from inborn_proto import workload
from tests.rigs.fixtures_library import SpokenAgent

WEB = "spiffe://example.org/web"
WAIT = 10.0


class Watcher:
    """Waits for a snapshot of a kind."""

    def __init__(self, source: X509Source) -> None:
        self._source = source
        self._arrived: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
        source.subscribe(self._arrived.put)

    def until(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        snapshot = self._source.snapshot()
        end = time.monotonic() + WAIT
        while not condition(snapshot):
            snapshot = self._arrived.get(timeout=max(0.0, end - time.monotonic()))
        return snapshot


def test_identity_arrives_and_rotates(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    first, second = authority.svid(WEB), authority.svid(WEB)
    agent.identify(first)
    with X509Source(agent.path) as source:
        watcher = Watcher(source)
        assert source.svid.leaf == first.leaf
        assert source.snapshot().trust_domain == authority.trust_domain
        agent.identify(second)
        watcher.until(lambda s: s.svids[0].leaf == second.leaf)


def test_more_identities_than_are_taken_never_mean_none(
    authority: MemoryAuthority, agent: SpokenAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """1,000 are taken, as other SPIFFE clients do; the first of them are those that say the most."""
    svid = authority.svid(WEB)
    agent.identify(svid, *[authority.svid(f"{WEB}/{n}", key=svid.private_key) for n in range(1000)])
    with X509Source(agent.path, timeout=30) as source:
        assert len(source.snapshot().svids) == 1000
        assert source.svid.leaf == svid.leaf
    assert "more than 1000 identities" in caplog.text


async def test_identity_arrives_without_blocking_the_loop(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.identify(authority.svid(WEB))
    async with X509Source.open(agent.path) as source:
        assert str(source.svid.spiffe_id) == WEB


async def test_changed_gives_the_next_snapshot(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.identify(authority.svid(WEB))
    async with X509Source.open(agent.path) as source:
        import asyncio

        waiting = asyncio.ensure_future(source.changed())
        await asyncio.sleep(0)
        svid = authority.svid(WEB)
        agent.identify(svid)
        assert (await waiting).svids[0].leaf == svid.leaf


def test_waiting_ends_with_the_reason_of_the_agent(agent: SpokenAgent) -> None:
    agent.withdraw("no registration entry matches this process")
    with (
        pytest.raises(NoIdentity, match=r"within 0\.5 s: no registration entry matches"),
        X509Source(agent.path, timeout=0.5),
    ):
        pass


def test_waiting_without_an_agent_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoIdentity, match="does not answer"), X509Source(tmp_path / "none.sock", timeout=0.3):
        pass


def test_an_identity_is_waited_for_until_it_comes(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.withdraw("not yet")
    with X509Source(agent.path, timeout=0) as source:
        watcher = Watcher(source)
        watcher.until(lambda s: s.reason == "not yet")
        with pytest.raises(NoIdentity, match="not yet"):
            _ = source.svid
        agent.identify(authority.svid(WEB))
        watcher.until(lambda s: bool(s.svids))


def test_a_withdrawn_identity_is_not_used_any_more(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.identify(authority.svid(WEB))
    with X509Source(agent.path) as source:
        agent.withdraw("entry was deleted")
        Watcher(source).until(lambda s: not s.svids)
        with pytest.raises(NoIdentity, match="entry was deleted"):
            _ = source.svid


def test_last_snapshot_is_served_while_the_agent_is_away(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    first, second = authority.svid(WEB), authority.svid(WEB)
    agent.identify(first)
    with X509Source(agent.path) as source:
        watcher = Watcher(source)
        agent.stop()
        assert source.svid.leaf == first.leaf
        agent.identify(second)
        agent.start()
        watcher.until(lambda s: s.svids[0].leaf == second.leaf)


def test_an_svid_that_does_not_lead_to_the_bundle_is_not_published(
    authority: MemoryAuthority, agent: SpokenAgent
) -> None:
    good, strange = authority.svid(WEB), MemoryAuthority("example.org").svid(WEB)
    agent.identify(good)
    with X509Source(agent.path) as source:
        watcher = Watcher(source)
        agent.identify(strange)
        later = authority.svid(WEB)
        agent.identify(later)
        watcher.until(lambda s: s.svids[0].leaf != good.leaf)
        assert source.svid.leaf == later.leaf


def test_what_has_not_changed_stays_the_same_object(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    svid = authority.svid(WEB)
    agent.identify(svid)
    with X509Source(agent.path) as source:
        before, watcher = source.snapshot(), Watcher(source)
        agent.identify(svid)
        rule = _rule(authority, 1)
        agent.revocations(1, [rule], snapshot=True)
        watcher.until(lambda s: len(s.revocations) == 1)
        after = source.snapshot()
        assert after.svids is before.svids
        assert after.bundles is before.bundles


def _rule(authority: MemoryAuthority, seq: int, spiffe_id: str = "spiffe://example.org/bad") -> Revocation:
    any_authority = read_certificate(authority.svid(WEB).leaf).authority
    return Revocation(seq=seq, kind=RevocationKind.SPIFFE_ID, value=spiffe_id.encode(), cut_offs={any_authority: None})


def test_revocations_are_applied_and_acknowledged_across_a_gap(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.revocations(1, [_rule(authority, 1)], snapshot=True)
    agent.identify(authority.svid(WEB))
    with X509Source(agent.path) as source:
        watcher = Watcher(source)
        assert agent.acks.get(timeout=WAIT).revocation_seq == 0
        assert agent.acks.get(timeout=WAIT).revocation_seq == 1
        # A rule is missing between 1 and 3: the source comes again, and is told everything.
        agent.arrived.get(timeout=WAIT)
        agent.revocations(3, [_rule(authority, 3)], snapshot=False)
        agent.arrived.get(timeout=WAIT)
        hello = agent.acks.get(timeout=WAIT)
        assert (hello.log_id, hello.revocation_seq) == (authority.log_id, 1)
        agent.revocations(3, [_rule(authority, seq) for seq in (1, 2, 3)], snapshot=True)
        watcher.until(lambda s: s.revocations.seq == 3)
        while agent.acks.get(timeout=WAIT).revocation_seq != 3:  # it may be met with the older snapshot first
            pass


def test_older_revocations_take_nothing_back(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.revocations(2, [_rule(authority, 1), _rule(authority, 2)], snapshot=True)
    agent.identify(authority.svid(WEB))
    with X509Source(agent.path) as source:
        watcher = Watcher(source)
        watcher.until(lambda s: s.revocations.seq == 2)
        agent.revocations(0, [], snapshot=True)
        agent.withdraw("done")
        watcher.until(lambda s: not s.svids)
        assert source.snapshot().revocations.seq == 2


def test_age_counts_on_from_what_the_agent_says(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    agent.freshness(5000)
    agent.identify(authority.svid(WEB))
    with X509Source(agent.path) as source:
        agent.withdraw("now")  # comes after the freshness on the same stream
        Watcher(source).until(lambda s: not s.svids)
        age = source.snapshot().age(time.monotonic())
        assert age is not None
        assert dt.timedelta(seconds=5) <= age < dt.timedelta(seconds=15)


# -- an agent that is not Inborn's -------------------------------------------------------------------------------------


def _response(authority: MemoryAuthority, *svids: X509Svid, crls: tuple[bytes, ...] = ()) -> workload.X509SVIDResponse:
    return workload.X509SVIDResponse(
        svids=[
            workload.X509SVID(
                spiffe_id=str(svid.spiffe_id),
                x509_svid=svid.chain_der(),
                x509_svid_key=svid.key_der(),
                bundle=authority.bundle.der(),
                hint=svid.hint,
            )
            for svid in svids
        ],
        crl=list(crls),
    )


def _crl(authority: MemoryAuthority, *serials: int) -> bytes:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.issuing.subject)
        .last_update(now - dt.timedelta(minutes=1))
        .next_update(now + dt.timedelta(hours=1))
    )
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        )
    return builder.sign(authority.issuing_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_plain_workload_api_is_followed_with_its_crls(authority: MemoryAuthority, spiffe_agent: SpokenAgent) -> None:
    mine, bad = authority.svid(WEB), authority.svid("spiffe://example.org/bad")
    spiffe_agent.respond(_response(authority, mine, crls=(_crl(authority, bad.leaf.serial_number),)))
    with X509Source(spiffe_agent.path) as source:
        snapshot = source.snapshot()
        assert snapshot.svids[0].leaf == mine.leaf
        assert snapshot.revocations.find(bad.facts) is not None
        assert snapshot.revocations.find(mine.facts) is None


def test_crl_of_a_stranger_revokes_nobody(authority: MemoryAuthority, spiffe_agent: SpokenAgent) -> None:
    mine = authority.svid(WEB)
    forged = _crl(MemoryAuthority("example.org"), mine.leaf.serial_number)
    spiffe_agent.respond(_response(authority, mine, crls=(forged,)))
    with X509Source(spiffe_agent.path) as source:
        assert source.snapshot().svids[0].leaf == mine.leaf


def test_second_svid_of_one_hint_is_dropped(authority: MemoryAuthority, spiffe_agent: SpokenAgent) -> None:
    one, two = authority.svid(WEB, hint="h"), authority.svid(WEB, hint="h")
    spiffe_agent.respond(_response(authority, one, two))
    with X509Source(spiffe_agent.path) as source:
        assert [s.leaf for s in source.snapshot().svids] == [one.leaf]


def test_permission_denied_withdraws_the_identity(authority: MemoryAuthority, spiffe_agent: SpokenAgent) -> None:
    spiffe_agent.respond(_response(authority, authority.svid(WEB)))
    with X509Source(spiffe_agent.path) as source:
        spiffe_agent.deny("no identity issued")
        assert "no identity issued" in Watcher(source).until(lambda s: not s.svids).reason


# -- where the agent is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("/run/a.sock", "unix:/run/a.sock"),
        ("unix:///run/a.sock", "unix:/run/a.sock"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("tcp://127.0.0.1:80", "ipv4:127.0.0.1:80"),
        ("tcp://[::1]:80", "ipv6:[::1]:80"),
    ],
)
def test_endpoint_is_understood(endpoint: str, target: str) -> None:
    assert parse_endpoint(endpoint) == target


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "a.sock",
        "unix://host/run/a.sock",
        "unix:a.sock",
        "unix:///a?x=1",
        "unix:///" + "a" * 108,
        "tcp://localhost:80",
        "tcp:127.0.0.1:80",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "http://127.0.0.1:80",
    ],
)
def test_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(BadEndpoint):
        parse_endpoint(endpoint)


def test_environment_says_where_the_agent_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///x.sock")
    assert default_socket() == "unix:///x.sock"
