"""For the tests of programs that use Inborn: a trust domain in memory, with real certificates.

    authority = MemoryAuthority("example.org")
    source = authority.source("spiffe://example.org/web")
    context = inborn.server_context(source, inborn.authorize_any())
    authority.revoke("spiffe://example.org/web")   # every source of this authority knows at once

Its keys lie in the process's memory and nothing is recorded: never for anything but tests.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import os
import time
import weakref
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inborn._internal.revocation.revocation_set import Revocation, RevocationKind, RevocationSet
from inborn._internal.source.snapshot import Snapshot, StaticSource
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain, parse_spiffe_id, parse_trust_domain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import PrivateKey, X509Svid, read_certificate

__all__ = ["MemoryAuthority"]

_BACKDATE = dt.timedelta(seconds=30)


class MemoryAuthority:
    """A root, one issuing authority, and a revocation log that all its sources share."""

    def __init__(self, trust_domain: str = "example.org") -> None:
        self.trust_domain: TrustDomain = parse_trust_domain(trust_domain)
        self.log_id = os.urandom(16)
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._authority(self.root_key, "root", None)
        self.issuing_key = ec.generate_private_key(ec.SECP256R1())
        self.issuing = self._authority(self.issuing_key, "issuing", 0)
        self.revocations = RevocationSet(log_id=self.log_id)
        self._serials = itertools.count(time.time_ns() << 64)
        self._sources: weakref.WeakSet[StaticSource] = weakref.WeakSet()

    @property
    def bundle(self) -> X509Bundle:
        return X509Bundle(trust_domain=self.trust_domain, roots=(self.root,))

    def certificate(
        self,
        spiffe_id: SpiffeId | str,
        public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        *,
        ttl: dt.timedelta = dt.timedelta(hours=1),
        not_before: dt.datetime | None = None,
        dns_names: Sequence[str] = (),
        uris: Sequence[str] = (),
    ) -> x509.Certificate:
        """A leaf. `uris` are further URI names, which make it an invalid one; the ID is not checked either."""
        now = dt.datetime.now(dt.UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in (str(spiffe_id), *uris)]
        names += [x509.DNSName(name) for name in dns_names]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.issuing.subject)
            .public_key(public_key)
            .serial_number(next(self._serials))
            .not_valid_before(not_before or now - _BACKDATE)
            .not_valid_after(now + ttl)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuing_key.public_key()), critical=False
            )
        )
        return builder.sign(self.issuing_key, hashes.SHA256())

    def svid(
        self,
        spiffe_id: SpiffeId | str,
        *,
        key: PrivateKey | None = None,
        ttl: dt.timedelta = dt.timedelta(hours=1),
        dns_names: Sequence[str] = (),
        hint: str = "",
    ) -> X509Svid:
        """An SVID with a new key, or with the one given."""
        if isinstance(spiffe_id, str):
            spiffe_id = parse_spiffe_id(spiffe_id)
        private_key = key or ec.generate_private_key(ec.SECP256R1())
        leaf = self.certificate(spiffe_id, private_key.public_key(), ttl=ttl, dns_names=dns_names)
        return X509Svid(
            spiffe_id=spiffe_id,
            chain=(leaf, self.issuing),
            private_key=private_key,
            hint=hint,
            issued_at=dt.datetime.now(dt.UTC),
        )

    def source(
        self,
        spiffe_id: SpiffeId | str,
        *,
        ttl: dt.timedelta = dt.timedelta(hours=1),
        dns_names: Sequence[str] = (),
        federated: Mapping[TrustDomain, X509Bundle] | None = None,
    ) -> StaticSource:
        """A source with one identity. It learns of every revocation of this authority."""
        svid = self.svid(spiffe_id, ttl=ttl, dns_names=dns_names)
        return self.source_of(svid, federated=federated)

    def source_of(
        self, *svids: X509Svid, federated: Mapping[TrustDomain, X509Bundle] | None = None, reason: str = ""
    ) -> StaticSource:
        """A source with these identities, or with none for this reason."""
        source = StaticSource(
            Snapshot(
                trust_domain=self.trust_domain,
                svids=svids,
                bundles={**(federated or {}), self.trust_domain: self.bundle},
                revocations=self.revocations,
                reason=reason,
                heard_at=time.monotonic(),
            )
        )
        self._sources.add(source)
        return source

    def rotate(self, source: StaticSource, *, ttl: dt.timedelta = dt.timedelta(hours=1)) -> X509Svid:
        """Give a source a new certificate with a new key for the same ID."""
        snapshot = source.snapshot()
        svid = self.svid(snapshot.svids[0].spiffe_id, ttl=ttl)
        source.replace(dataclasses.replace(snapshot, svids=(svid, *snapshot.svids[1:])))
        return svid

    def revoke(self, what: SpiffeId | str | X509Svid) -> Revocation:
        """Revoke all certificates that exist for an ID, or one certificate."""
        if isinstance(what, X509Svid):
            kind, value = RevocationKind.SERIAL, read_certificate(what.leaf).serial
        else:
            kind, value = RevocationKind.SPIFFE_ID, str(what).encode()
        return self.revoke_target(kind, value)

    def revoke_target(self, kind: RevocationKind, value: bytes) -> Revocation:
        """Append a revocation that touches what this authority has issued so far, and tell all sources."""
        last = next(self._serials)
        authority = read_certificate(self.svid(self.trust_domain.id.child("any")).leaf).authority
        revocation = Revocation(
            seq=self.revocations.seq + 1,
            kind=kind,
            value=value,
            cut_offs={authority: last.to_bytes((last.bit_length() + 7) // 8, "big")},
            revoked_at=dt.datetime.now(dt.UTC),
        )
        self.revocations.apply_delta(self.log_id, revocation.seq, [revocation])
        for source in list(self._sources):
            source.replace(dataclasses.replace(source.snapshot()))
        return revocation

    def _authority(self, key: ec.EllipticCurvePrivateKey, name: str, path_length: int | None) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        is_root = path_length is None
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.trust_domain.name[:64]),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {os.urandom(4).hex()}"),
            ]
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if is_root else self.root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(self.trust_domain.id))]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
        )
        return builder.sign(self.root_key, hashes.SHA256())


def _usage(**on: bool) -> x509.KeyUsage:
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: on.get(bit, False) for bit in bits})
