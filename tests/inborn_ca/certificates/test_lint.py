"""Each rule of the lint refuses its defect, in a certificate that has no other. Functions are named after defects."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn_ca.authorities.authority_life import make_issuing, make_root
from inborn_ca.certificates import profile
from inborn_ca.certificates.lint import LintError, Wanted, lint_authority, lint_svid
from inborn_ca.certificates.serial import SerialSource
from tests.rigs.certificates import key_usage

TD = TrustDomain("example.org")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
WEB = SpiffeId(trust_domain=TD, path="/web")
SERIAL = SerialSource().next(NOW, os.urandom(11))

ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
KEY = ec.generate_private_key(ec.SECP256R1())
LEAF = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
ROOT = make_root(trust_domain=TD, key=ROOT_KEY, now=NOW, life=dt.timedelta(days=3650))
ISSUER = make_issuing(trust_domain=TD, root=ROOT, root_key=ROOT_KEY, key=KEY, now=NOW, life=dt.timedelta(days=60))


def name(text: str = "") -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def usage(*bits: str) -> x509.KeyUsage:
    return key_usage(bits)


@dataclass
class Draft:
    """A certificate that is right, to spoil one thing of."""

    signer: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    issuer: x509.Name
    key: object
    subject: x509.Name
    serial: int
    start: dt.datetime
    end: dt.datetime
    extensions: dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool]] = field(default_factory=dict)
    algorithm: hashes.HashAlgorithm | None = field(default_factory=hashes.SHA256)

    def put(self, extension: x509.ExtensionType, critical: bool) -> None:
        self.extensions[type(extension)] = (extension, critical)

    def sign(self) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .issuer_name(self.issuer)
            .subject_name(self.subject)
            .public_key(self.key.public_key())  # type: ignore[attr-defined]
            .serial_number(self.serial)
            .not_valid_before(self.start)
            .not_valid_after(self.end)
        )
        for extension, critical in self.extensions.values():
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.signer, self.algorithm)  # type: ignore[arg-type]


def an_svid() -> Draft:
    draft = Draft(
        signer=KEY,
        issuer=ISSUER.subject,
        key=LEAF,
        subject=name(),
        serial=int.from_bytes(SERIAL, "big"),
        start=NOW,
        end=NOW + HOUR,
    )
    names = [x509.UniformResourceIdentifier(str(WEB)), x509.DNSName(WEB.alias), x509.DNSName("web")]
    draft.put(profile.SVID_CONSTRAINTS, True)
    draft.put(profile.SVID_KEY_USAGE, True)
    draft.put(profile.SVID_EXTENDED_KEY_USAGE, False)
    draft.put(x509.SubjectAlternativeName(names), True)
    draft.put(x509.SubjectKeyIdentifier.from_public_key(LEAF.public_key()), False)
    draft.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(KEY.public_key()), False)
    return draft


WANTED = Wanted(
    spiffe_id=WEB,
    dns_names=("web",),
    common_name="",
    key_hash=key_sha256(LEAF.public_key()),
    serial=SERIAL,
    not_after=NOW + HOUR,
)


def names(*more: x509.GeneralName, alias: bool = True, uri: str = str(WEB), dns: tuple[str, ...] = ("web",)):
    values: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
    values += [x509.DNSName(WEB.alias)] if alias else []
    return x509.SubjectAlternativeName([*values, *(x509.DNSName(d) for d in dns), *more])


# Defects of an SVID.


def signature_algorithm__sha384(d: Draft) -> None:
    d.algorithm = hashes.SHA384()


def signature_algorithm__ed25519(d: Draft) -> None:
    d.signer, d.algorithm = ed25519.Ed25519PrivateKey.generate(), None


def svid_extensions__one_more(d: Draft) -> None:
    d.put(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""), False)


def svid_extensions__name_constraints(d: Draft) -> None:
    d.put(x509.NameConstraints([x509.DNSName("a")], None), True)


def svid_extensions__no_extended_key_usage(d: Draft) -> None:
    del d.extensions[x509.ExtendedKeyUsage]


def svid_extensions__no_names(d: Draft) -> None:
    del d.extensions[x509.SubjectAlternativeName]


def svid_serial__short(d: Draft) -> None:
    d.serial >>= 8


def svid_serial__twenty_octets(d: Draft) -> None:
    d.serial = 1 << 151


def svid_serial__not_the_recorded_one(d: Draft) -> None:
    d.serial += 1


def issuer_name__somebody_else(d: Draft) -> None:
    d.issuer = ROOT.subject


def svid_subject__common_name_nobody_asked_for(d: Draft) -> None:
    d.subject = name("admin")
    d.put(names(), False)


def validity__begins_before_its_signer(d: Draft) -> None:
    d.start = ISSUER.not_valid_before_utc - dt.timedelta(seconds=1)


def validity__outlives_its_signer(d: Draft) -> None:
    d.end = ISSUER.not_valid_after_utc + dt.timedelta(seconds=1)


def svid_end__longer_than_granted(d: Draft) -> None:
    d.end += dt.timedelta(seconds=1)


def svid_key__p384(d: Draft) -> None:
    d.key = ec.generate_private_key(ec.SECP384R1())


def svid_key__not_the_request_s(d: Draft) -> None:
    d.key = OTHER


def svid_constraints__is_a_ca(d: Draft) -> None:
    d.put(x509.BasicConstraints(ca=True, path_length=None), True)


def svid_constraints__not_critical(d: Draft) -> None:
    d.put(profile.SVID_CONSTRAINTS, False)


def svid_key_usage__signs_certificates(d: Draft) -> None:
    d.put(usage("digital_signature", "key_cert_sign"), True)


def svid_key_usage__signs_crls(d: Draft) -> None:
    d.put(usage("digital_signature", "crl_sign"), True)


def svid_key_usage__no_digital_signature(d: Draft) -> None:
    d.put(usage("key_agreement"), True)


def svid_key_usage__not_critical(d: Draft) -> None:
    d.put(profile.SVID_KEY_USAGE, False)


def svid_extended_key_usage__server_only(d: Draft) -> None:
    d.put(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)


def svid_extended_key_usage__signs_code_too(d: Draft) -> None:
    d.put(x509.ExtendedKeyUsage([*profile.SVID_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.CODE_SIGNING]), False)


def svid_extended_key_usage__critical(d: Draft) -> None:
    d.put(profile.SVID_EXTENDED_KEY_USAGE, True)


def svid_names_critical__not_with_an_empty_subject(d: Draft) -> None:
    d.put(names(), False)


def svid_uri__two(d: Draft) -> None:
    d.put(names(x509.UniformResourceIdentifier("spiffe://example.org/admin")), True)


def svid_uri__none(d: Draft) -> None:
    d.put(names(uri=""), True)


def svid_uri__not_a_spiffe_id(d: Draft) -> None:
    d.put(names(uri="https://example.org/web"), True)


def svid_uri__no_path(d: Draft) -> None:
    d.put(names(uri="spiffe://example.org"), True)


def svid_uri__another_than_granted(d: Draft) -> None:
    d.put(names(uri="spiffe://example.org/admin"), True)


def svid_dns_names__no_alias(d: Draft) -> None:
    d.put(names(alias=False), True)


def svid_dns_names__alias_twice(d: Draft) -> None:
    d.put(names(x509.DNSName(WEB.alias)), True)


def svid_dns_names__alias_of_somebody_else(d: Draft) -> None:
    d.put(names(x509.DNSName(WEB.child("x").alias)), True)


def svid_dns_names__wildcard(d: Draft) -> None:
    d.put(names(dns=("web", "*.example.org")), True)


def svid_dns_names__one_that_nobody_asked_for(d: Draft) -> None:
    d.put(names(dns=("web", "db")), True)


def svid_dns_names__one_is_missing(d: Draft) -> None:
    d.put(names(dns=()), True)


def svid_other_names__mail(d: Draft) -> None:
    d.put(names(x509.RFC822Name("root@example.org")), True)


def subject_key_identifier__not_the_key_s(d: Draft) -> None:
    d.put(x509.SubjectKeyIdentifier.from_public_key(OTHER.public_key()), False)


def authority_key_identifier__not_the_issuer_s(d: Draft) -> None:
    d.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(OTHER.public_key()), False)


def authority_key_identifier__with_a_serial(d: Draft) -> None:
    digest = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()).digest
    d.put(x509.AuthorityKeyIdentifier(digest, [x509.DirectoryName(ROOT.subject)], 1), False)


SVID_DEFECTS = [
    value for key, value in list(globals().items()) if "__" in key and not key.startswith("_") and callable(value)
]


def rule_of(defect: Callable[[Draft], None]) -> str:
    return defect.__name__.partition("__")[0]


def test_an_svid_of_the_profile_passes() -> None:
    lint_svid(an_svid().sign(), issuer=ISSUER, wanted=WANTED)


def test_an_svid_with_the_common_name_of_its_entry_passes() -> None:
    draft = an_svid()
    draft.subject = name("web user")
    draft.put(names(), False)
    lint_svid(draft.sign(), issuer=ISSUER, wanted=replace(WANTED, common_name="web user"))


def test_names_that_are_critical_beside_a_subject_are_refused() -> None:
    draft = an_svid()
    draft.subject = name("web user")
    with pytest.raises(LintError) as caught:
        lint_svid(draft.sign(), issuer=ISSUER, wanted=replace(WANTED, common_name="web user"))
    assert caught.value.facts["rule"] == "svid_names_critical"


@pytest.mark.parametrize("defect", SVID_DEFECTS, ids=lambda defect: defect.__name__)
def test_a_single_defect_of_an_svid_is_refused_by_its_rule(defect: Callable[[Draft], None]) -> None:
    draft = an_svid()
    defect(draft)
    with pytest.raises(LintError) as caught:
        lint_svid(draft.sign(), issuer=ISSUER, wanted=WANTED)
    assert caught.value.facts["rule"] == rule_of(defect)


def test_an_svid_of_another_trust_domain_than_its_issuer_is_refused() -> None:
    other = TrustDomain("other.org")
    root = make_root(trust_domain=other, key=ROOT_KEY, now=NOW, life=dt.timedelta(days=3650))
    issuer = make_issuing(
        trust_domain=other, root=root, root_key=ROOT_KEY, key=KEY, now=NOW, life=dt.timedelta(days=60)
    )
    with pytest.raises(LintError) as caught:
        lint_svid(an_svid().sign(), issuer=issuer, wanted=WANTED)
    assert caught.value.facts["rule"] == "svid_trust_domain"


def an_authority() -> Draft:
    draft = Draft(
        signer=ROOT_KEY,
        issuer=ROOT.subject,
        key=KEY,
        subject=name("issuing"),
        serial=1 << 100,
        start=NOW,
        end=NOW + dt.timedelta(days=60),
    )
    draft.put(x509.BasicConstraints(ca=True, path_length=0), True)
    draft.put(profile.AUTHORITY_KEY_USAGE, True)
    draft.put(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org")]), False)
    draft.put(x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), False)
    draft.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT_KEY.public_key()), False)
    return draft


AUTHORITY_DEFECTS: dict[str, Callable[[Draft], None]] = {
    "authority_extensions, extended key usage": lambda d: d.put(profile.SVID_EXTENDED_KEY_USAGE, False),
    "authority_extensions, no names": lambda d: d.extensions.pop(x509.SubjectAlternativeName) and None,
    "authority_serial, small": lambda d: setattr(d, "serial", 1),
    "issuer_name, somebody else": lambda d: setattr(d, "issuer", name("x")),
    "authority_subject, empty": lambda d: setattr(d, "subject", name()),
    "authority_subject, the root's own": lambda d: setattr(d, "subject", ROOT.subject),
    "validity, outlives the root": lambda d: setattr(d, "end", ROOT.not_valid_after_utc + HOUR),
    "authority_key, P-384": lambda d: setattr(d, "key", ec.generate_private_key(ec.SECP384R1())),
    "authority_constraints, no CA": lambda d: d.put(x509.BasicConstraints(ca=False, path_length=None), True),
    "authority_constraints, any length": lambda d: d.put(x509.BasicConstraints(ca=True, path_length=None), True),
    "authority_constraints, length 1": lambda d: d.put(x509.BasicConstraints(ca=True, path_length=1), True),
    "authority_constraints, not critical": lambda d: d.put(x509.BasicConstraints(ca=True, path_length=0), False),
    "authority_key_usage, no CRLs": lambda d: d.put(usage("key_cert_sign"), True),
    "authority_key_usage, authenticates": lambda d: d.put(
        usage("key_cert_sign", "crl_sign", "digital_signature"), True
    ),
    "authority_key_usage, not critical": lambda d: d.put(profile.AUTHORITY_KEY_USAGE, False),
    "authority_names, another domain": lambda d: d.put(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://other.org")]), False
    ),
    "authority_names, a path": lambda d: d.put(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/ca")]), False
    ),
    "authority_names, one more": lambda d: d.put(
        x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier("spiffe://example.org"), x509.DNSName("ca.example.org")]
        ),
        False,
    ),
    "subject_key_identifier, of another key": lambda d: d.put(
        x509.SubjectKeyIdentifier.from_public_key(OTHER.public_key()), False
    ),
    "authority_key_identifier, its own": lambda d: d.put(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(KEY.public_key()), False
    ),
}


def test_an_authority_of_the_profile_passes() -> None:
    lint_authority(an_authority().sign(), trust_domain=TD, issuer=ROOT)


@pytest.mark.parametrize("defect", AUTHORITY_DEFECTS)
def test_a_single_defect_of_an_authority_is_refused_by_its_rule(defect: str) -> None:
    draft = an_authority()
    AUTHORITY_DEFECTS[defect](draft)
    with pytest.raises(LintError) as caught:
        lint_authority(draft.sign(), trust_domain=TD, issuer=ROOT)
    assert caught.value.facts["rule"] == defect.partition(",")[0]


def test_a_root_is_no_issuing_authority_and_the_reverse() -> None:
    with pytest.raises(LintError):
        lint_authority(ROOT, trust_domain=TD, issuer=ROOT)
    with pytest.raises(LintError):
        lint_authority(ISSUER, trust_domain=TD)
