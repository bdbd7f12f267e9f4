"""Every target of a revocation: what it kills, what it blocks, and what it leaves alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.spiffe.x509_svid import read_certificate
from inborn.errors import PreconditionError, RequestError
from inborn_ca.signer.commands import revocations
from inborn_ca.signer.commands.expansion import CHUNK, Expander
from inborn_ca.signer.commands.revocations import BulkGuard
from inborn_ca.signer.queue import Queue
from inborn_ca.signer.state import Blocked
from inborn_proto import admin_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench, Holder


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


def expand(ca: CaBench) -> None:
    """Work on open expansions to their end, as the signer's process does."""

    async def run() -> None:
        queue = Queue(ca.state)
        expander = Expander(ca.state, queue, ca.reader)
        expander.start()
        while ca.reader.revocations.open_expansions():
            await asyncio.sleep(0)
        await expander.close()

    asyncio.run(run())


def serial_of(certificate: x509.Certificate) -> str:
    return read_certificate(certificate).serial.hex()


def many(ca: CaBench, agent: Holder, entry_id: str, count: int) -> list[x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    issued: list[x509.Certificate] = []
    while len(issued) < count:
        items = [(entry_id, key, ["unix:uid:1000"])] * min(100, count - len(issued))
        response = ca.run(ca.issue_command(agent, *items))
        issued += [x509.load_der_x509_certificate(result.leaf) for result in response.results]
    return issued


def test_prefix_kills_and_blocks_whole_segments_below_it(ca: CaBench) -> None:
    agent = ca.enroll()
    web, webhook = ca.create_entry("/web/a", selectors=["unix:uid:1"]), ca.create_entry("/webhook")
    one = ca.issue(agent, web.id, ["unix:uid:1"])
    other = ca.issue(agent, webhook.id)
    ca.revoke(id_prefix="spiffe://example.org/web")
    assert ca.is_revoked(one)
    assert not ca.is_revoked(other)
    with pytest.raises(Blocked):
        ca.issue(agent, web.id, ["unix:uid:1"])
    ca.unblock("id-prefix:spiffe://example.org/web")
    ca.issue(agent, web.id, ["unix:uid:1"])


def test_prefix_of_the_whole_domain_leaves_inborns_own_alone(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    ca.revoke(id_prefix="spiffe://example.org", reissue=True, expect_count=ca.revoke(
        id_prefix="spiffe://example.org", dry_run=True
    ).certificates)  # fmt: skip
    assert ca.is_revoked(svid)
    assert not ca.is_revoked(agent.leaf)
    assert not ca.is_revoked(ca.issue(agent, entry.id))


def test_key_kills_every_certificate_of_it_and_blocks_it(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    ca.revoke(key=read_certificate(svid).key_hash.hex())
    assert ca.is_revoked(svid)
    assert ca.reader.blocks.all()[0].target == f"key:{read_certificate(svid).key_hash.hex()}"


def test_entry_is_blocked_at_once_and_expanded_to_its_certificates(ca: CaBench) -> None:
    agent = ca.enroll()
    entry, other = ca.create_entry(), ca.create_entry(selectors=["unix:gid:5"])
    svids, bystander = many(ca, agent, entry.id, 3), ca.issue(agent, other.id, ["unix:gid:5"])
    response = ca.revoke(entry=entry.id)
    assert (response.certificates, response.identities, response.nodes, response.blocked) == (3, 1, 1, True)
    with pytest.raises(Blocked):
        ca.issue(agent, entry.id)
    assert not any(ca.is_revoked(svid) for svid in svids)
    expand(ca)
    assert all(ca.is_revoked(svid) for svid in svids)
    assert not ca.is_revoked(bystander)
    assert ca.reader.revocations.expansion(response.expansion).revoked == 3  # type: ignore[union-attr]


def test_selector_kills_all_that_was_issued_on_that_evidence(ca: CaBench) -> None:
    agent = ca.enroll()
    entry = ca.create_entry(selectors=["unix:uid:1000"])
    digest = "docker:image_config_digest:sha256:" + "a" * 64
    bad, good = ca.issue(agent, entry.id, ["unix:uid:1000", digest]), ca.issue(agent, entry.id)
    ca.revoke(selector=digest)
    expand(ca)
    assert ca.is_revoked(bad)
    assert not ca.is_revoked(good)
    with pytest.raises(Blocked):
        ca.issue(agent, entry.id, ["unix:uid:1000", digest])
    ca.issue(agent, entry.id)


def test_agent_dies_with_all_that_it_vouched_for(ca: CaBench) -> None:
    agent, other, entry = ca.enroll(name="edge"), ca.enroll(), ca.create_entry()
    svid, bystander = ca.issue(agent, entry.id), ca.issue(other, entry.id)
    ca.revoke(agent="edge", reissue=True)
    expand(ca)
    assert ca.is_revoked(agent.leaf)
    assert ca.is_revoked(svid)
    assert not ca.is_revoked(bystander)
    with pytest.raises(CertificateRevoked):
        ca.issue(agent, entry.id)
    again = ca.enroll(agent="edge")  # evicted, not banned
    ca.issue(again, entry.id)


def test_banned_agent_takes_with_it_what_it_vouched_for(ca: CaBench) -> None:
    agent, entry = ca.enroll(name="edge"), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    ca.run(ca.revocations.ban(admin_pb2.BanAgentRequest(agent="edge", reason="stolen from the rack"), ADMIN))
    expand(ca)
    assert ca.is_revoked(svid)
    with pytest.raises(PreconditionError, match="is banned"):
        ca.create_token(agent="edge")


def test_what_is_issued_after_an_expansion_began_is_not_touched(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    old = many(ca, agent, entry.id, 2)
    ca.revoke(entry=entry.id)
    ca.unblock(f"entry:{entry.id}")
    fresh = ca.issue(agent, entry.id)
    expand(ca)
    assert all(ca.is_revoked(svid) for svid in old)
    assert not ca.is_revoked(fresh)


def test_expansion_that_a_crash_cut_short_is_finished_at_the_next_start(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svids = many(ca, agent, entry.id, CHUNK + 50)
    ca.revoke(entry=entry.id, expect_count=len(svids))
    chunk = Expander(ca.state, ca.queue, ca.reader).chunk(ca.reader.revocations.open_expansions()[0])
    ca.run(chunk)
    assert 0 < sum(ca.is_revoked(svid) for svid in svids) < len(svids)
    ca.state.reload()  # what a new process does
    expand(ca)
    assert all(ca.is_revoked(svid) for svid in svids)
    assert ca.reader.revocations.seq() == len(svids)


def test_dry_run_counts_and_changes_nothing(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svids = many(ca, agent, entry.id, 3)
    targets: list[dict[str, Any]] = [
        {"spiffe_id": "spiffe://example.org/web"},
        {"id_prefix": "spiffe://example.org/web"},
        {"entry": entry.id},
        {"agent": agent.spiffe_id},
        {"selector": "unix:uid:1000"},
        {"key": read_certificate(svids[0]).key_hash.hex()},
    ]
    for target in targets:
        response = ca.revoke(**target, dry_run=True)
        expected = 4 if "agent" in target else 3
        assert (response.certificates, response.dry_run) == (expected, True), target
    assert ca.revoke(serial=serial_of(svids[0]), dry_run=True).certificates == 1
    assert ca.reader.revocations.seq() == 0
    assert ca.reader.blocks.all() == []
    assert ca.reader.revocations.open_expansions() == []


def test_bulk_guard_wants_to_be_told_the_number(ca: CaBench, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    count = revocations.BULK_GUARD + 1
    svids = many(ca, agent, entry.id, count)
    with pytest.raises(BulkGuard, match=f"{count} certificates"):
        ca.revoke(spiffe_id="spiffe://example.org/web")
    with pytest.raises(BulkGuard):
        ca.revoke(spiffe_id="spiffe://example.org/web", expect_count=count * 9 // 10)
    assert not ca.is_revoked(svids[0])
    ca.revoke(spiffe_id="spiffe://example.org/web", expect_count=count - 3)  # some were renewed meanwhile
    assert ca.is_revoked(svids[0])


def test_the_same_command_again_gets_the_same_answer(ca: CaBench) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    ca.issue(agent, entry.id)
    first = ca.revoke(spiffe_id="spiffe://example.org/web", request_id=b"r" * 16)
    again = ca.revoke(spiffe_id="spiffe://example.org/web", request_id=b"r" * 16)
    assert first == again
    assert ca.reader.revocations.seq() == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "zz"},
        {"key": "00" * 40},
        {"id_prefix": "spiffe://example.org/inborn"},
        {"id_prefix": "spiffe://example.org/inborn/agent"},
        {"id_prefix": "spiffe://other.org"},
        {"entry": "not a uuid"},
        {"agent": "nobody"},
        {"selector": "nocolon"},
        {"selector": "unix:uid:1", "entry": "x"},
        {"spiffe_id": "spiffe://example.org/web", "request_id": b"short"},
    ],
)
def test_bad_targets_are_refused_and_change_nothing(ca: CaBench, fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        ca.revoke(**fields)
    assert ca.reader.revocations.seq() == 0
