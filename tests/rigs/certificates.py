"""Certificates for tests: good ones, and bad ones that are named after their defect.

`make_root`, `make_issuing` and `make_leaf` make what the CA makes; every other function makes the same with one thing
wrong. Serials rise with each call, so that cut-offs can be tested. Nothing here is shared with the code under test.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid

NOW = dt.datetime(2026, 11, 20, 12, 0, 0, tzinfo=dt.UTC)
"""The moment at which tests of pure code happen."""

ID = "spiffe://example.org/workload"

_serials = itertools.count((1 << 144) + 1)  # 19 bytes, as the CA's are

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A certificate, its key, and who signed it (None: itself)."""

    certificate: x509.Certificate
    key: Key
    issuer: Credential | None = None

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """This certificate and those above it, without the root."""
        return (self.certificate,) + (self.issuer.chain if self.issuer is not None and self.issuer.issuer else ())

    @property
    def root(self) -> Credential:
        return self.issuer.root if self.issuer is not None else self

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_der(self) -> bytes:
        return b"".join(c.public_bytes(serialization.Encoding.DER) for c in self.chain)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.chain)

    @property
    def key_der(self) -> bytes:
        return self._key_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self._key_bytes(serialization.Encoding.PEM)

    @property
    def key_id(self) -> bytes:
        """The subject key identifier."""
        return subject_key_id(self.key)

    def svid(self, *, hint: str = "", issued_at: dt.datetime | None = None) -> X509Svid:
        return X509Svid.parse(self.chain_der, self.key_der, hint=hint, issued_at=issued_at)

    def _key_bytes(self, encoding: serialization.Encoding) -> bytes:
        return self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What goes into a certificate. `None` leaves an extension out."""

    uris: Sequence[str] = (ID,)
    dns_names: Sequence[str] = ()
    common_name: str = ""
    organization: str = ""
    is_ca: bool | None = False
    path_length: int | None = None
    usages: frozenset[str] | None = frozenset({"digital_signature"})
    usage_critical: bool = True
    extended: Sequence[x509.ObjectIdentifier] | None = (
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    )
    san_critical: bool | None = None
    """None: critical where the subject is empty (RFC 5280 4.2.1.6)."""
    authority_key_id: bytes | None = b"issuer"
    """b"issuer": the issuer's own."""
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()


_USAGES = (
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


def key_usage(bits: Collection[str]) -> x509.KeyUsage:
    """With these bits set, and no others."""
    return x509.KeyUsage(**{name: name in bits for name in _USAGES})


def subject_key_id(key: Key) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


def make_certificate(
    shape: Shape,
    *,
    issuer: Credential | None,
    not_before: dt.datetime,
    not_after: dt.datetime,
    key: Key | None = None,
    serial: int | None = None,
    signed_by: Key | None = None,
) -> Credential:
    """Make a certificate of any shape. `signed_by`: a key that is not the issuer's."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    parts = [(NameOID.ORGANIZATION_NAME, shape.organization), (NameOID.COMMON_NAME, shape.common_name)]
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(next(_serials) if serial is None else serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier(subject_key_id(key)), critical=False)
    )
    if shape.is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(shape.is_ca, shape.path_length), critical=True)
    if shape.usages is not None:
        usage = key_usage(shape.usages)
        builder = builder.add_extension(usage, critical=shape.usage_critical)
    if shape.extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(shape.extended), critical=False)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in shape.uris]
    names += [x509.DNSName(name) for name in shape.dns_names]
    if names:
        critical = not list(subject) if shape.san_critical is None else shape.san_critical
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    if shape.authority_key_id is not None and (issuer is not None or shape.authority_key_id != b"issuer"):
        octets = issuer.key_id if shape.authority_key_id == b"issuer" and issuer else shape.authority_key_id
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(octets, None, None), critical=False)
    for extension, is_critical in shape.more:
        builder = builder.add_extension(extension, critical=is_critical)
    signer = signed_by or (issuer.key if issuer is not None else key)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Credential(certificate=builder.sign(signer, algorithm), key=key, issuer=issuer)


# Good ones.


def make_root(
    trust_domain: str = "example.org",
    *,
    now: dt.datetime = NOW,
    life: dt.timedelta = dt.timedelta(days=3650),
    key: Key | None = None,
    shape: Shape | None = None,
) -> Credential:
    """The root of a trust domain."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    return make_certificate(
        shape or _authority_shape(trust_domain, "root", key, path_length=None),
        issuer=None,
        not_before=now - dt.timedelta(seconds=60),
        not_after=now + life,
        key=key,
    )


def make_issuing(
    root: Credential,
    trust_domain: str = "example.org",
    *,
    now: dt.datetime = NOW,
    life: dt.timedelta = dt.timedelta(days=60),
    key: Key | None = None,
    shape: Shape | None = None,
) -> Credential:
    """An issuing authority below a root."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    return make_certificate(
        shape or _authority_shape(trust_domain, "issuing", key, path_length=0),
        issuer=root,
        not_before=now - dt.timedelta(seconds=60),
        not_after=now + life,
        key=key,
    )


def make_leaf(
    issuing: Credential,
    spiffe_id: str = ID,
    *,
    now: dt.datetime = NOW,
    life: dt.timedelta = dt.timedelta(hours=1),
    backdate: dt.timedelta = dt.timedelta(seconds=30),
    key: Key | None = None,
    serial: int | None = None,
    dns_names: Sequence[str] = (),
    common_name: str = "",
    shape: Shape | None = None,
) -> Credential:
    """An X509-SVID. `shape`, where given, is taken instead of ID and names."""
    return make_certificate(
        shape or Shape(uris=(spiffe_id,), dns_names=dns_names, common_name=common_name),
        issuer=issuing,
        not_before=now - backdate,
        not_after=now + life,
        key=key,
        serial=serial,
    )


def make_bundle(*roots: Credential, trust_domain: str = "example.org") -> X509Bundle:
    return X509Bundle(trust_domain=TrustDomain(trust_domain), roots=tuple(root.certificate for root in roots))


def _authority_shape(trust_domain: str, what: str, key: Key, *, path_length: int | None) -> Shape:
    return Shape(
        uris=(f"spiffe://{trust_domain}",),
        organization=trust_domain,
        common_name=f"{what} {hashlib.sha256(subject_key_id(key)).hexdigest()[:16]}",
        is_ca=True,
        path_length=path_length,
        usages=frozenset({"key_cert_sign", "crl_sign"}),
        extended=None,
    )


# Leaves with one defect.


def leaf_with_two_uris(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(uris=(ID, ID + "/other")))


def leaf_without_uri(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(uris=(), dns_names=("workload.example.org",)))


def leaf_without_names(issuing: Credential) -> Credential:
    """No subject alternative name at all."""
    return make_leaf(issuing, shape=Shape(uris=(), common_name="workload"))


def leaf_of_root_path(issuing: Credential) -> Credential:
    """The trust domain's own ID, which has no path."""
    return make_leaf(issuing, "spiffe://example.org")


def leaf_with_https_uri(issuing: Credential) -> Credential:
    return make_leaf(issuing, "https://example.org/workload")


def leaf_with_upper_case_trust_domain(issuing: Credential) -> Credential:
    return make_leaf(issuing, "spiffe://Example.org/workload")


def leaf_of_other_trust_domain(issuing: Credential) -> Credential:
    """Names an ID outside the trust domain of the authority that signed it."""
    return make_leaf(issuing, "spiffe://other.example/workload")


def expired_leaf(issuing: Credential, *, now: dt.datetime = NOW) -> Credential:
    """Ended a second ago."""
    return make_leaf(issuing, now=now - dt.timedelta(hours=1), life=dt.timedelta(hours=1, seconds=-1))


def not_yet_valid_leaf(issuing: Credential, *, now: dt.datetime = NOW) -> Credential:
    """Begins in an hour."""
    return make_leaf(issuing, now=now + dt.timedelta(hours=1), backdate=dt.timedelta(0))


def leaf_without_key_usage(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(usages=None))


def leaf_with_key_usage_not_critical(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(usage_critical=False))


def leaf_without_digital_signature(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(usages=frozenset({"key_agreement"})))


def leaf_with_cert_sign(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(usages=frozenset({"digital_signature", "key_cert_sign"})))


def leaf_with_crl_sign(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(usages=frozenset({"digital_signature", "crl_sign"})))


def ca_as_leaf(issuing: Credential) -> Credential:
    """An SVID that says to be a CA."""
    return make_leaf(issuing, shape=Shape(is_ca=True))


def leaf_with_rsa_1024(issuing: Credential) -> Credential:
    return make_leaf(issuing, key=rsa.generate_private_key(65537, 1024))


def leaf_with_rsa_of_a_broken_byte(issuing: Credential) -> Credential:
    """2052 bits."""
    return make_leaf(issuing, key=rsa.generate_private_key(65537, 2052))


def leaf_with_p192(issuing: Credential) -> Credential:
    return make_leaf(issuing, key=ec.generate_private_key(ec.SECP192R1()))


def leaf_with_dsa(issuing: Credential) -> Credential:
    return make_leaf(issuing, key=dsa.generate_private_key(1024))


_UNREADABLE_NAME_CONSTRAINT = x509.UnrecognizedExtension(
    x509.NameConstraints.oid,
    bytes.fromhex("3009" "a007" "3005" "8703" "7f0000"),  # permitted: an iPAddress of 3 bytes, no address and mask
)  # fmt: skip


def leaf_with_unreadable_name_constraint(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(more=((_UNREADABLE_NAME_CONSTRAINT, True),)))


def root_with_unreadable_name_constraint() -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    shape = _authority_shape("example.org", "root", key, path_length=None)
    return make_root(key=key, shape=dataclasses.replace(shape, more=((_UNREADABLE_NAME_CONSTRAINT, True),)))


def _issuing_with(root: Credential, **defect: object) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    shape = _authority_shape("example.org", "issuing", key, path_length=0)
    return make_issuing(root, key=key, shape=dataclasses.replace(shape, **defect))  # type: ignore[arg-type]


def issuing_without_authority_key_id(root: Credential) -> Credential:
    return _issuing_with(root, authority_key_id=None)


def issuing_with_unreadable_name_constraint(root: Credential) -> Credential:
    return _issuing_with(root, more=((_UNREADABLE_NAME_CONSTRAINT, True),))


def issuing_with_name_constraint_not_critical(root: Credential) -> Credential:
    """It permits all that it signs, and whoever does not know it may pass it over."""
    permitted = [x509.UniformResourceIdentifier("example.org")]
    return _issuing_with(root, more=((x509.NameConstraints(permitted, None), False),))


def issuing_with_policy_constraint_not_critical(root: Credential) -> Credential:
    return _issuing_with(root, more=((x509.PolicyConstraints(0, None), False),))


def issuing_with_rsa_1024(root: Credential) -> Credential:
    key = rsa.generate_private_key(65537, 1024)
    return make_issuing(root, key=key)


def leaf_with_server_auth_only(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(extended=(ExtendedKeyUsageOID.SERVER_AUTH,)))


def leaf_with_client_auth_only(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)))


def leaf_with_any_extended_usage_only(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(extended=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)))


def leaf_with_names_not_critical(issuing: Credential) -> Credential:
    """Empty subject, and the subject alternative name is not critical."""
    return make_leaf(issuing, shape=Shape(san_critical=False))


def leaf_without_authority_key_id(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(authority_key_id=None))


def leaf_naming_another_authority(issuing: Credential, other: Credential) -> Credential:
    """Signed by `issuing`, and its authority key identifier says `other`."""
    return make_leaf(issuing, shape=Shape(authority_key_id=other.key_id))


def leaf_with_unreadable_name(issuing: Credential) -> Credential:
    """A subject alternative name with an x400Address, which no library reads."""
    uri = ID.encode()
    names = b"\xa3\x02\x30\x00" + b"\x86" + bytes([len(uri)]) + uri
    san = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30" + bytes([len(names)]) + names)
    return make_leaf(issuing, shape=Shape(uris=(), more=((san, True),)))


def leaf_with_names_twice(issuing: Credential) -> Credential:
    """Two subject alternative name extensions, with an ID each."""
    first = make_leaf(issuing, shape=Shape(more=((x509.UnrecognizedExtension(_SPARE_OID, _san(ID + "2")), False),)))
    return _altered(first, b"\x06\x03\x55\x1d\x63", b"\x06\x03\x55\x1d\x11")


def leaf_with_unknown_critical_extension(issuing: Credential) -> Credential:
    return make_leaf(issuing, shape=Shape(more=((x509.UnrecognizedExtension(_SPARE_OID, b"\x05\x00"), True),)))


def leaf_with_serial_zero(issuing: Credential) -> Credential:
    return _altered(make_leaf(issuing, serial=1), b"\x02\x01\x01", b"\x02\x01\x00")


def leaf_with_negative_serial(issuing: Credential) -> Credential:
    return _altered(make_leaf(issuing, serial=1), b"\x02\x01\x01", b"\x02\x01\x80")


def leaf_with_long_serial(issuing: Credential) -> Credential:
    """21 bytes, one more than RFC 5280 4.1.2.2 allows."""
    return _altered(make_leaf(issuing, serial=1), b"\x02\x01\x01", b"\x02\x15" + b"\x01" * 21)


def leaf_signed_by_stranger(issuing: Credential) -> Credential:
    """Names `issuing` as its issuer, and is signed by a key that nobody knows."""
    return make_certificate(
        Shape(),
        issuer=issuing,
        not_before=NOW - dt.timedelta(seconds=30),
        not_after=NOW + dt.timedelta(hours=1),
        signed_by=ec.generate_private_key(ec.SECP256R1()),
    )


def leaf_with_altered_id(issuing: Credential) -> Credential:
    """A good leaf in which one letter of the ID was changed after it was signed."""
    good = make_leaf(issuing)
    certificate = x509.load_der_x509_certificate(good.der.replace(b"/workload", b"/worklosd"))
    return dataclasses.replace(good, certificate=certificate)


# Authorities with one defect.


def issuing_without_ca(root: Credential) -> Credential:
    return make_issuing(root, shape=_issuing_shape(is_ca=False, path_length=None))


def issuing_without_cert_sign(root: Credential) -> Credential:
    return make_issuing(root, shape=_issuing_shape(usages=frozenset({"crl_sign"})))


def issuing_with_path(root: Credential) -> Credential:
    """Its ID has a path (X509-SVID 3.1 forbids it)."""
    return make_issuing(root, shape=_issuing_shape(uris=("spiffe://example.org/issuing",)))


def issuing_of_other_trust_domain(root: Credential) -> Credential:
    return make_issuing(root, shape=_issuing_shape(uris=("spiffe://other.example",)))


def expired_issuing(root: Credential) -> Credential:
    return make_issuing(root, now=NOW - dt.timedelta(days=2), life=dt.timedelta(days=1))


def issuing_below_path_length(issuing: Credential) -> Credential:
    """An authority below one whose path length is 0."""
    return make_issuing(issuing)


_SPARE_OID = x509.ObjectIdentifier("2.5.29.99")  # nobody's, and as long as the others of that arc


def _issuing_shape(**changes: object) -> Shape:
    shape = _authority_shape("example.org", "issuing", ec.generate_private_key(ec.SECP256R1()), path_length=0)
    return dataclasses.replace(shape, **changes)  # type: ignore[arg-type]


def _san(uri: str) -> bytes:
    names = b"\x86" + bytes([len(uri)]) + uri.encode()
    return b"\x30" + bytes([len(names)]) + names


def _altered(credential: Credential, old: bytes, new: bytes) -> Credential:
    """The same certificate with the first occurrence of `old` changed, signed anew by its issuer.

    `new` has the same length, unless what is changed lies at the top of the structure (the serial).
    """
    assert credential.issuer is not None
    signer = credential.issuer.key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    tbs = credential.certificate.tbs_certificate_bytes
    assert tbs[1] == 0x82, "a header of four bytes: it has 256 to 65535"
    assert old in tbs[4:]
    body = tbs[4:].replace(old, new, 1)
    tbs = b"\x30" + _length(len(body)) + body
    signature = b"\x00" + signer.sign(tbs, ec.ECDSA(hashes.SHA256()))
    ecdsa_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    whole = tbs + ecdsa_sha256 + b"\x03" + _length(len(signature)) + signature
    certificate = x509.load_der_x509_certificate(b"\x30" + _length(len(whole)) + whole)
    return dataclasses.replace(credential, certificate=certificate)


def _length(octets: int) -> bytes:
    if octets < 0x80:
        return bytes([octets])
    encoded = octets.to_bytes((octets.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(encoded)]) + encoded
