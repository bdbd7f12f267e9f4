"""A daemon that enrolls without an agent: in, renewed, restarted, told of revocations."""

from __future__ import annotations

import base64
import datetime as dt
import json
import queue
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import inborn
from inborn._internal.feed.log_parts import log_to_wire
from inborn._internal.host.directory_lock import DirectoryInUse
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.source.snapshot import IdentitySource, NoIdentity, Snapshot
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn._internal.wire.frames import encode_frame
from inborn.errors import RequestError, UnavailableError
from inborn.testing import MemoryAuthority
from inborn_member.enrolled import BadAnswer
from inborn_member.enrolled_source import EnrolledSource
from inborn_member.identity_store import IdentityStore
from inborn_member.kept_revocations import KeptRevocations
from inborn_member.request_numbers import RequestNumbers
from inborn_member.way_in import WrongIdentity
from inborn_proto import feed_pb2
from tests.rigs.fixtures_spoken_ca import DAEMON, SpokenAuthority

WAIT = 10.0
SHORT = dt.timedelta(seconds=3)


def until(source: IdentitySource, condition: Callable[[Snapshot], bool]) -> Snapshot:
    arrived: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
    unsubscribe = source.subscribe(arrived.put)
    try:
        snapshot, end = source.snapshot(), time.monotonic() + WAIT
        while not condition(snapshot):
            snapshot = arrived.get(timeout=max(0.0, end - time.monotonic()))
        return snapshot
    finally:
        unsubscribe()


def enrolled(ca: SpokenAuthority, directory: Path, *, token: bool = True, timeout: float = WAIT) -> EnrolledSource:
    return inborn.enroll(ca.token if token else None, ca=ca.address, directory=directory, timeout=timeout)


def test_daemon_enrolls_and_is_known(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path / "d") as source:
        assert str(source.svid.spiffe_id) == DAEMON
        assert source.snapshot().bundles == {ca.authority.trust_domain: ca.authority.bundle}
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "d" / "identity").stat().st_mode & 0o777 == 0o600


async def test_daemon_enrolls_without_blocking_the_loop(ca: SpokenAuthority, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(ca.token.encode() + "\n")
    async with inborn.enroll(ca=ca.address, join_token_file=token_file, directory=tmp_path / "d") as source:
        assert str(source.svid.spiffe_id) == DAEMON


def test_restart_resumes_without_a_token_and_without_the_ca(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path) as source:
        first = source.svid
    ca.stop()
    with enrolled(ca, tmp_path, token=False) as source:
        assert source.svid.leaf == first.leaf
    assert len(ca.enrolled) == 1


def test_another_token_enrolls_anew(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path) as source:
        first = source.svid
    other = SpokenAuthority(ca.authority)
    other.start()
    try:
        with enrolled(other, tmp_path) as source:
            assert source.svid.leaf != first.leaf
    finally:
        other.stop()


def test_certificate_is_renewed_for_a_successor_key(ca: SpokenAuthority, tmp_path: Path) -> None:
    ca.life = SHORT
    with enrolled(ca, tmp_path) as source:
        first = source.svid
        second = until(source, lambda s: s.svids[0].leaf != first.leaf).svids[0]
        ca.life = dt.timedelta(hours=1)
        third = until(source, lambda s: s.svids[0].leaf != second.leaf).svids[0]
    keys = {key_sha256(svid.private_key.public_key()) for svid in (first, second, third)}
    assert len(keys) == 3
    with enrolled(ca, tmp_path, token=False) as source:
        assert source.svid.leaf == third.leaf


def test_lost_reply_is_asked_for_again_with_the_same_successor(ca: SpokenAuthority, tmp_path: Path) -> None:
    ca.life = SHORT
    ca.lose_replies = 1
    with enrolled(ca, tmp_path) as source:
        assert _keys(ca.enrolled) == [_keys(ca.enrolled)[0]] * 2  # the enrollment's reply was lost once
        first = source.svid
        ca.lose_replies = 1
        until(source, lambda s: s.svids[0].leaf != first.leaf)
    assert len(ca.renewed) == 2
    assert len(set(_keys(ca.renewed))) == 1
    assert ca.numbers == sorted(set(ca.numbers))


def _keys(csrs: list[bytes]) -> list[bytes]:
    return [key_sha256(x509.load_der_x509_csr(csr).public_key()) for csr in csrs]


def test_revocations_arrive_are_acknowledged_and_survive_a_restart(ca: SpokenAuthority, tmp_path: Path) -> None:
    bad = ca.authority.svid("spiffe://example.org/bad")
    with enrolled(ca, tmp_path) as source:
        ca.acks.get(timeout=WAIT)
        rule = ca.authority.revoke_target(RevocationKind.SPIFFE_ID, b"spiffe://example.org/bad")
        ca.push(ca.feed.update(rule))
        assert ca.acks.get(timeout=WAIT).revocation_seq == 1
        assert source.snapshot().revocations.find(bad.facts) is not None
    ca.stop()
    with enrolled(ca, tmp_path, token=False) as source:
        assert source.snapshot().revocations.find(bad.facts) is not None


def test_own_revocation_ends_the_identity(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path) as source:
        ca.acks.get(timeout=WAIT)
        # As it is in the feed alone: this CA's own port does not cut the daemon off before it has heard.
        rule = Revocation(
            seq=1, kind=RevocationKind.SPIFFE_ID, value=DAEMON.encode(), cut_offs={source.svid.facts.authority: None}
        )
        ca.push(ca.feed.update(rule))
        assert "revoked" in until(source, lambda s: not s.svids).reason


def test_a_revoked_daemon_gets_in_again_with_a_new_token_in_its_file(ca: SpokenAuthority, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(ca.token.encode())
    with inborn.enroll(ca=ca.address, join_token_file=token_file, directory=tmp_path / "d") as source:
        ca.acks.get(timeout=WAIT)
        facts = source.svid.facts
        rule = Revocation(
            seq=1, kind=RevocationKind.SERIAL, value=facts.serial, cut_offs={facts.authority: facts.serial}
        )
        ca.push(ca.feed.update(rule))
        until(source, lambda s: not s.svids)
        assert len(ca.enrolled) == 1  # the used token is not shown again
        ca.new_token()
        token_file.write_text(ca.token.encode())
        assert until(source, lambda s: bool(s.svids)).svids[0].facts.serial != facts.serial
    assert len(ca.enrolled) == 2


def test_daemon_finds_a_ca_that_has_moved_to_another_port(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path) as source:
        ca.acks.get(timeout=WAIT)
        first = source.svid
        ca.stop()
        while not ca.acks.empty():  # what the former port has heard
            ca.acks.get()
        ca.api_port = 0
        ca.start()
        ca.acks.get(timeout=WAIT)
        ca.push(ca.feed.authorities(feed_pb2.AuthorityState.TAINTED))
        until(source, lambda s: s.svids[0].leaf != first.leaf)
    with enrolled(ca, tmp_path, token=False):
        ca.acks.get(timeout=WAIT)


@pytest.mark.parametrize("lost", ["", "numbers.json", "next.json", "revocations.bin"])
def test_directory_of_a_former_daemon_is_resumed_and_renewed(ca: SpokenAuthority, tmp_path: Path, lost: str) -> None:
    with enrolled(ca, tmp_path) as source:
        first = source.svid
        ca.acks.get(timeout=WAIT)
    as_formerly(tmp_path)
    if lost:
        (tmp_path / lost).unlink()
    while not ca.acks.empty():
        ca.acks.get()
    with enrolled(ca, tmp_path) as source:
        assert source.svid.leaf == first.leaf
        ca.acks.get(timeout=WAIT)
        ca.push(ca.feed.authorities(feed_pb2.AuthorityState.TAINTED))
        until(source, lambda s: s.svids[0].leaf != first.leaf)
    assert len(ca.enrolled) == 1
    assert ca.refused == []


def as_formerly(directory: Path) -> None:
    """What is kept of a daemon, in the files of the program before: JSON, frames, and no seal."""
    record = IdentityStore(directory).load()
    revocations = KeptRevocations(directory).load()
    assert record is not None
    assert record.svid.issued_at is not None
    for path in directory.iterdir():
        path.unlink()

    def text(octets: bytes) -> str:
        return base64.b64encode(octets).decode()

    key_hash = key_sha256(record.svid.private_key.public_key()).hex()
    next_key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    identity = {
        "spiffe_id": str(record.svid.spiffe_id),
        "key": text(record.svid.key_der()),
        "chain": text(record.svid.chain_der()),
        "bundle": text(record.bundle.der()),
        "issued_at": record.svid.issued_at.isoformat(),
        "api_address": record.api_address,
        "log_id": text(record.log_id),
        "token_id": text(record.evidence),
    }
    (directory / "identity.json").write_text(json.dumps(identity))
    (directory / "next.json").write_text(json.dumps({"for": key_hash, "key": text(next_key)}))
    (directory / "numbers.json").write_text(json.dumps({"key": key_hash, "reserved": "1024"}))
    frames = [encode_frame(m.SerializeToString()) for log in revocations.logs() for m in log_to_wire(log)]
    (directory / "revocations.bin").write_bytes(b"".join(frames))


def test_new_root_of_the_feed_is_taken_and_kept(ca: SpokenAuthority, tmp_path: Path) -> None:
    second = MemoryAuthority("example.org").bundle.ders()[0]
    with enrolled(ca, tmp_path) as source:
        ca.acks.get(timeout=WAIT)
        ca.push(ca.feed.update(roots=(*ca.authority.bundle.ders(), second)))
        until(source, lambda s: len(s.bundles[ca.authority.trust_domain].roots) == 2)
        ca.acks.get(timeout=WAIT)
    ca.stop()
    with enrolled(ca, tmp_path, token=False) as source:
        assert len(source.snapshot().bundles[ca.authority.trust_domain].roots) == 2


def test_feed_is_resumed_after_a_gap_and_an_outage(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path) as source:
        assert ca.hellos.get(timeout=WAIT).domain_revision == 0
        ca.acks.get(timeout=WAIT)
        ca.feed.revision += 5  # messages that never arrive
        ca.push(ca.feed.heartbeat())
        assert ca.hellos.get(timeout=WAIT).domain_revision == 1
        ca.acks.get(timeout=WAIT)
        ca.stop()
        ca.start()
        ca.hellos.get(timeout=WAIT)
        assert source.svid


def test_roots_in_an_answer_are_not_believed(ca: SpokenAuthority, tmp_path: Path) -> None:
    ca.life = SHORT
    with enrolled(ca, tmp_path) as source:
        first = source.svid
        ca.roots = [*ca.roots, MemoryAuthority("example.org").bundle.ders()[0]]
        after = until(source, lambda s: s.svids[0].leaf != first.leaf)
        assert after.bundles[ca.authority.trust_domain] == ca.authority.bundle


def test_certificate_for_another_id_is_refused(ca: SpokenAuthority, tmp_path: Path) -> None:
    source = inborn.enroll(
        ca.token, ca=ca.address, directory=tmp_path, spiffe_id=inborn.parse_spiffe_id("spiffe://example.org/other")
    )
    with pytest.raises(WrongIdentity, match="wanted is spiffe"), source:
        pass


def test_token_of_an_agent_makes_no_daemon(ca: SpokenAuthority, tmp_path: Path) -> None:
    ca.spiffe_id = "spiffe://example.org/inborn/agent/1"
    with pytest.raises(WrongIdentity, match="agent"), enrolled(ca, tmp_path):
        pass


def test_certificate_that_does_not_lead_to_the_bundle_is_refused(ca: SpokenAuthority, tmp_path: Path) -> None:
    stranger = MemoryAuthority("example.org")
    ca.authority.issuing_key, ca.authority.issuing = stranger.issuing_key, stranger.issuing
    with pytest.raises(inborn.errors.UnauthenticatedError, match="does not lead"), enrolled(ca, tmp_path):
        pass
    assert not (tmp_path / "identity").exists()


def test_directory_serves_one_process_at_a_time(ca: SpokenAuthority, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path):
        with pytest.raises(DirectoryInUse), enrolled(ca, tmp_path):
            pass
    with enrolled(ca, tmp_path):
        pass


def test_without_token_and_identity_it_says_what_to_do(ca: SpokenAuthority, tmp_path: Path) -> None:
    with pytest.raises(NoIdentity) as caught, enrolled(ca, tmp_path, token=False):
        pass
    assert "token create" in caught.value.hint


def test_without_a_ca_it_says_where_it_looked(ca: SpokenAuthority, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnavailableError, match=address):
        with inborn.enroll(ca.token, ca=address, directory=tmp_path, timeout=0.1):
            pass


def test_bad_addresses_and_double_tokens_are_refused(ca: SpokenAuthority, tmp_path: Path) -> None:
    for address in ("", "host", "host:", "host:0", "host:x", "::1:80", ":80"):
        with pytest.raises(RequestError):
            inborn.enroll(ca.token, ca=address)
    with pytest.raises(RequestError, match="not both"):
        inborn.enroll(ca.token, ca="host:1", join_token_file=tmp_path / "t")


def test_numbers_rise_across_a_crash() -> None:
    kept: list[int] = []
    numbers = RequestNumbers(0, kept.append)
    used = [numbers.next() for _ in range(1500)]
    again = RequestNumbers(kept[-1], kept.append)
    assert used == list(range(1, 1501))
    assert again.next() > used[-1]
    assert json.dumps(kept) == "[1024, 2048, 3072]"


def test_answer_without_a_log_id_is_refused(ca: SpokenAuthority, tmp_path: Path) -> None:
    ca.authority.log_id = b"short"
    with pytest.raises(BadAnswer, match="log_id"), enrolled(ca, tmp_path):
        pass
