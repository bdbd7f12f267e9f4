"""Certificate, key and bundle on disk: what is taken, and what is refused before anything is said to anybody."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from inborn._internal.enrollment.x509pop import UnusableKey, verify_proof
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import bundle_digest
from inborn.errors import RequestError
from inborn.testing import MemoryAuthority
from inborn_member.node_attestors.x509pop import BundlePin, CertificateFiles, UnusableFile
from inborn_proto import ca_pb2
from tests.rigs.machine_ca import MachineCertificate

NOW = dt.datetime.now(dt.UTC)


def key_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, encryption: Any = None) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()))


@pytest.fixture
def machine() -> MachineCertificate:
    return MachineCertificate.root(NOW).issuing(NOW).leaf(NOW)


@pytest.fixture
def files(tmp_path: Path, machine: MachineCertificate) -> CertificateFiles:
    assert machine.above is not None
    (tmp_path / "cert.pem").write_bytes(machine.pem + machine.above.pem)
    (tmp_path / "key.pem").write_bytes(key_pem(machine.key))
    (tmp_path / "key.pem").chmod(0o600)
    authority = MemoryAuthority("example.org")
    (tmp_path / "roots.pem").write_bytes(authority.bundle.pem())
    return CertificateFiles(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem", bundle=tmp_path / "roots.pem")


def test_evidence_is_read_and_proves(files: CertificateFiles, machine: MachineCertificate) -> None:
    evidence = files.read()
    assert evidence.trust_domain == TrustDomain("example.org")
    message = ca_pb2.X509PopEvidence.FromString(evidence.encode())
    assert list(message.chain) == machine.chain
    assert message.nonce != ca_pb2.X509PopEvidence.FromString(evidence.encode()).nonce
    verify_proof(machine.key.public_key(), b"body", evidence.prove(b"body"))
    assert "PrivateKey" not in repr(evidence)


def test_bundle_file_and_pin_mean_the_same(files: CertificateFiles) -> None:
    assert files.bundle is not None
    of_file = BundlePin.of_file(files.bundle)
    pinned = replace(files, bundle=None, pin=BundlePin.parse(of_file.digest.hex(), of_file.trust_domain))
    assert pinned.read().bundle_digest == files.read().bundle_digest


def test_order_of_the_roots_does_not_matter(files: CertificateFiles) -> None:
    one, two = MemoryAuthority("example.org").bundle, MemoryAuthority("example.org").bundle
    assert files.bundle is not None
    files.bundle.write_bytes(two.pem() + one.pem())
    assert files.read().bundle_digest == bundle_digest([*one.ders(), *two.ders()])


def test_certificate_is_read_anew_each_time(files: CertificateFiles, machine: MachineCertificate) -> None:
    before = files.read()
    renewed = MachineCertificate.root(NOW).leaf(NOW, key=machine.key)
    files.certificate.write_bytes(renewed.pem)
    after = files.read()
    assert before.id != after.id
    assert after.chain == (renewed.certificate,)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o666])
def test_key_that_others_can_read_is_refused(files: CertificateFiles, mode: int) -> None:
    files.key.chmod(mode)
    with pytest.raises(UnusableFile, match=f"mode {mode:04o}") as caught:
        files.read()
    assert "chmod 600" in caught.value.hint


def test_key_that_others_can_read_is_refused_behind_a_symlink_as_well(files: CertificateFiles) -> None:
    real = files.key.with_name("real.pem")
    files.key.rename(real)
    files.key.symlink_to(real)
    files.read()
    real.chmod(0o644)
    with pytest.raises(UnusableFile):
        files.read()


@pytest.mark.root
def test_key_of_another_user_is_refused(files: CertificateFiles) -> None:
    os.chown(files.key, 4242, 4242)
    with pytest.raises(UnusableFile, match="uid 4242"):
        files.read()


def test_key_of_another_certificate_is_refused(files: CertificateFiles) -> None:
    files.key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(UnusableFile, match="not that of the first certificate"):
        files.read()


def test_keys_that_cannot_prove_are_refused(files: CertificateFiles, machine: MachineCertificate) -> None:
    for pem, error in (
        (key_pem(ed25519.Ed25519PrivateKey.generate()), UnusableKey),
        (key_pem(ec.generate_private_key(ec.SECP521R1())), UnusableKey),
        (key_pem(machine.key, encryption=BestAvailableEncryption(b"secret")), UnusableFile),
        (b"", UnusableFile),
        (machine.pem, UnusableFile),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", UnusableFile),
    ):
        files.key.write_bytes(pem)
        with pytest.raises(error):
            files.read()
    files.key.write_bytes(key_pem(machine.key, PrivateFormat.TraditionalOpenSSL))
    files.read()


def test_files_that_are_missing_large_or_junk_are_refused(files: CertificateFiles, machine: MachineCertificate) -> None:
    assert files.bundle is not None
    for path in (files.certificate, files.key, files.bundle):
        kept = path.read_bytes()
        for content in (b"", b"junk", b"x" * 200_000):
            path.write_bytes(content)
            with pytest.raises(UnusableFile):
                files.read()
        path.unlink()
        with pytest.raises(UnusableFile, match="cannot be read"):
            files.read()
        path.write_bytes(kept)
        path.chmod(0o600)
    files.certificate.write_bytes(machine.pem * 6)
    with pytest.raises(UnusableFile, match="6 certificates"):
        files.read()


def test_bundle_that_is_not_of_one_trust_domain_is_refused(files: CertificateFiles) -> None:
    assert files.bundle is not None
    files.bundle.write_bytes(MemoryAuthority("example.org").bundle.pem() + MemoryAuthority("other.org").bundle.pem())
    with pytest.raises(UnusableFile, match="several trust domains"):
        files.read()
    files.bundle.write_bytes(MachineCertificate.root(NOW).pem)
    with pytest.raises(UnusableFile, match="names no trust domain"):
        files.read()


@pytest.mark.parametrize("digest", ["", "ab", "g" * 64, "A" * 64, "a" * 65, "a" * 64 + "\n"])
def test_pin_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(RequestError):
        BundlePin.parse(digest, TrustDomain("example.org"))
