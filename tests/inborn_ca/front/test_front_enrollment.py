"""Getting in through a real front, by the joiner's own code: whom it believes, what it shows, and what comes of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from inborn._internal.spiffe.x509_svid import load_certificate
from inborn.errors import DeniedError, InbornError
from inborn_member.bootstrap import BundleMismatch, enroll
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.node_attestors.x509pop import CertificateEvidence
from inborn_proto import admin_pb2, ca_pb2
from tests.rigs.front_rig import Rig, running_ca
from tests.rigs.machine_ca import MachineCertificate

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_ca(tmp_path) as rig:
        yield rig


def evidence_of(rig: Rig, machine: MachineCertificate) -> CertificateEvidence:
    bundle = rig.signer.state.bundle
    return CertificateEvidence(
        chain=tuple(load_certificate(der) for der in machine.chain),
        private_key=machine.key,
        trust_domain=bundle.trust_domain,
        bundle_digest=bundle.digest(),
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def test_machine_enrolls_with_its_certificate_and_again(rig: Rig) -> None:
    root = MachineCertificate.root(NOW)
    machine = root.issuing(NOW).leaf(NOW, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    await rig.admin("SetX509Pop", admin_pb2.SetX509PopRequest(ca_bundle=root.pem))
    address = str(rig.settings.bootstrap)
    first = await enroll(evidence_of(rig, machine), address, new_key())
    again = await enroll(evidence_of(rig, machine), address, new_key())
    assert first.svid.spiffe_id == again.svid.spiffe_id
    assert first.svid.spiffe_id.path == f"/inborn/agent/x509pop/{machine.fingerprint}"
    assert rig.signer.state.revocations.find(first.svid.facts) is not None
    assert rig.signer.state.revocations.find(again.svid.facts) is None


async def test_joiner_tells_nothing_to_a_ca_that_is_not_the_one_it_knows(rig: Rig) -> None:
    root = MachineCertificate.root(NOW)
    await rig.admin("SetX509Pop", admin_pb2.SetX509PopRequest(ca_bundle=root.pem))
    good = evidence_of(rig, root.leaf(NOW))
    evidence = CertificateEvidence(
        chain=good.chain, private_key=good.private_key, trust_domain=good.trust_domain, bundle_digest=bytes(32)
    )
    with pytest.raises(BundleMismatch) as caught:
        await enroll(evidence, str(rig.settings.bootstrap), new_key())
    assert "inborn bundle show" in caught.value.hint
    assert (await rig.admin("ListAgents", admin_pb2.ListAgentsRequest())).agents == []


async def test_refusal_reaches_the_joiner_with_its_reason(rig: Rig) -> None:
    with pytest.raises(DeniedError, match="lets nobody in by x509pop"):
        await enroll(evidence_of(rig, MachineCertificate.root(NOW).leaf(NOW)), str(rig.settings.bootstrap), new_key())


async def test_both_kinds_come_in_by_one_door(rig: Rig) -> None:
    root = MachineCertificate.root(NOW)
    await rig.admin("SetX509Pop", admin_pb2.SetX509PopRequest(ca_bundle=root.pem))
    for evidence in (TokenEvidence(await rig.token(name="one")), evidence_of(rig, root.leaf(NOW))):
        await enroll(evidence, str(rig.settings.bootstrap), new_key())
    agents = (await rig.admin("ListAgents", admin_pb2.ListAgentsRequest())).agents
    assert sorted((agent.attested_by, agent.name) for agent in agents) == [("join_token", "one"), ("x509pop", "")]


@pytest.mark.parametrize("kind", ["", "tpm", "join_token"])
async def test_challenge_for_a_kind_that_takes_none_is_refused(rig: Rig, kind: str) -> None:
    request = ca_pb2.ChallengeRequest(kind=kind, key_hash=bytes(32))
    with pytest.raises(InbornError, match="evidence of the kind"):
        await rig.bootstrap().unary("Challenge", request, ca_pb2.ChallengeResponse, timeout=10)
