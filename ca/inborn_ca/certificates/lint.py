"""The last look at a certificate before it is signed: rules that are written without regard to how it was made.

Each rule is a function that says what is wrong, or nothing; a table holds them, and the first complaint is raised as
`LintError`. A broken rule is a bug of ours: nothing that a caller sends may lead here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from inborn._internal.spiffe.spiffe_id import ALIAS_SUFFIX, SpiffeId, TrustDomain, parse_spiffe_id
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn.errors import InbornError, InternalError
from inborn_ca.certificates.profile import (
    AUTHORITY_EXTENSIONS,
    AUTHORITY_KEY_USAGE,
    SERIAL_OCTETS,
    SVID_CONSTRAINTS,
    SVID_EXTENDED_KEY_USAGE,
    SVID_EXTENSIONS,
    SVID_KEY_USAGE,
)
from inborn_ca.model.dns_name import check_dns_name

__all__ = ["LintError", "Wanted", "lint_authority", "lint_svid"]


class LintError(InternalError):
    """A certificate that was about to be signed breaks a rule; `facts["rule"]` names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was granted and asked for: the certificate must say this and no more."""

    spiffe_id: SpiffeId
    dns_names: Sequence[str]
    common_name: str
    key_hash: bytes
    serial: bytes
    not_after: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    certificate: x509.Certificate
    extensions: x509.Extensions
    issuer: x509.Certificate | None
    """None: it is a root."""

    @property
    def names(self) -> x509.Extension[x509.SubjectAlternativeName]:
        return self.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    @property
    def uris(self) -> list[str]:
        return self.names.value.get_values_for_type(x509.UniformResourceIdentifier)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Svid(_Case):
    issuer: x509.Certificate
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority(_Case):
    trust_domain: TrustDomain


def lint_svid(certificate: x509.Certificate, *, issuer: x509.Certificate, wanted: Wanted) -> None:
    """Refuse what is not exactly an X509-SVID of our profile, from `issuer`, that says what is `wanted`.

    Not checked: the signature, whether the issuer may be used, blocks, revocation. Raises `LintError`.
    """
    extensions = _extensions(certificate)
    _run(_SVID_RULES, _Svid(certificate=certificate, extensions=extensions, issuer=issuer, wanted=wanted))


def lint_authority(
    certificate: x509.Certificate, *, trust_domain: TrustDomain, issuer: x509.Certificate | None = None
) -> None:
    """Refuse what is not exactly a CA certificate of our profile: an issuing one from `issuer`, or a root (None).

    Not checked: the signature, that the subject is unique among all authorities. Raises `LintError`.
    """
    extensions = _extensions(certificate)
    case = _Authority(certificate=certificate, extensions=extensions, issuer=issuer, trust_domain=trust_domain)
    _run(_AUTHORITY_RULES, case)


_C = TypeVar("_C", bound=_Case)
_Rule = Callable[[_C], str]


def _run(rules: Sequence[_Rule[_C]], case: _C) -> None:
    for rule in rules:
        name = rule.__name__.lstrip("_")
        try:
            complaint = rule(case)
        except (x509.ExtensionNotFound, UnsupportedAlgorithm, ValueError, InbornError) as e:
            raise LintError(f"certificate breaks the rule {name}: {e}", rule=name) from e
        if complaint:
            raise LintError(f"certificate breaks the rule {name}: {complaint}", rule=name)


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as e:
        raise LintError(f"certificate breaks the rule extensions: {e}", rule="extensions") from e


# Rules for both kinds.


def _version(case: _Case) -> str:
    return "" if case.certificate.version is x509.Version.v3 else "not an X.509 v3 certificate (RFC 5280 4.1.2.1)"


def _signature_algorithm(case: _Case) -> str:
    algorithm = case.certificate.signature_algorithm_oid
    return "" if algorithm == SignatureAlgorithmOID.ECDSA_WITH_SHA256 else f"{algorithm.dotted_string}"


def _issuer_name(case: _Case) -> str:
    issuer = case.certificate if case.issuer is None else case.issuer
    if not issuer.subject.rdns:
        return "the issuer has no name (RFC 5280 4.1.2.4)"
    return "" if case.certificate.issuer == issuer.subject else "not the subject of the issuer (RFC 5280 6.1.3)"


def _validity(case: _Case) -> str:
    start, end = case.certificate.not_valid_before_utc, case.certificate.not_valid_after_utc
    if start >= end:
        return f"begins at {start:%Y-%m-%dT%H:%M:%SZ}, ends at {end:%Y-%m-%dT%H:%M:%SZ}"
    if case.issuer is None:
        return ""
    if start < case.issuer.not_valid_before_utc:
        return f"begins at {start:%Y-%m-%dT%H:%M:%SZ}, the issuer at {case.issuer.not_valid_before_utc}"
    if end > case.issuer.not_valid_after_utc:
        return f"ends at {end:%Y-%m-%dT%H:%M:%SZ}, the issuer at {case.issuer.not_valid_after_utc}"
    return ""


def _subject_key_identifier(case: _Case) -> str:
    extension = case.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    if extension.critical:
        return "critical (RFC 5280 4.2.1.2)"
    key = case.certificate.public_key()
    wanted = x509.SubjectKeyIdentifier.from_public_key(key)
    return "" if extension.value == wanted else "not that of the key (RFC 5280 4.2.1.2)"


def _authority_key_identifier(case: _Case) -> str:
    extension = case.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    if extension.critical:
        return "critical (RFC 5280 4.2.1.1)"
    issuer = case.extensions if case.issuer is None else case.issuer.extensions
    subject_key = issuer.get_extension_for_class(x509.SubjectKeyIdentifier).value
    wanted = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)
    return "" if extension.value == wanted else "not the key identifier of the issuer alone (RFC 5280 4.2.1.1)"


# Rules for an X509-SVID.


def _svid_extensions(case: _Svid) -> str:
    return _difference(case.extensions, SVID_EXTENSIONS)


def _svid_serial(case: _Svid) -> str:
    serial = case.certificate.serial_number
    if serial <= 0 or serial.bit_length() // 8 + 1 != SERIAL_OCTETS:  # as DER counts, which adds a sign bit
        return f"not positive and of {SERIAL_OCTETS} octets: {serial:x} (RFC 5280 4.1.2.2)"
    return "" if serial.to_bytes(SERIAL_OCTETS, "big") == case.wanted.serial else "not the serial that was recorded"


def _svid_subject(case: _Svid) -> str:
    names = list(case.certificate.subject)
    if not case.wanted.common_name:
        return "not empty, and nobody asked for a common name" if names else ""
    if [(name.oid, name.value) for name in names] != [(NameOID.COMMON_NAME, case.wanted.common_name)]:
        return "not exactly the common name of the entry"
    return ""


def _svid_end(case: _Svid) -> str:
    end, wanted = case.certificate.not_valid_after_utc, case.wanted.not_after
    return "" if end <= wanted else f"ends at {end:%Y-%m-%dT%H:%M:%SZ}, granted until {wanted:%Y-%m-%dT%H:%M:%SZ}"


def _svid_key(case: _Svid) -> str:
    key = case.certificate.public_key()
    if not isinstance(key, ed25519.Ed25519PublicKey) and not _is_p256(key):
        return "neither P-256 nor Ed25519"
    return "" if key_sha256(key) == case.wanted.key_hash else "not the key of the request"


def _svid_constraints(case: _Svid) -> str:
    extension = case.extensions.get_extension_for_class(x509.BasicConstraints)
    if extension.value != SVID_CONSTRAINTS:
        return "an SVID is not a CA (X509-SVID 4.1)"
    return "" if extension.critical else "not critical"


def _svid_key_usage(case: _Svid) -> str:
    extension = case.extensions.get_extension_for_class(x509.KeyUsage)
    if not extension.critical:
        return "not critical (X509-SVID 4.3)"
    return "" if extension.value == SVID_KEY_USAGE else "not digitalSignature alone (X509-SVID 4.3)"


def _svid_extended_key_usage(case: _Svid) -> str:
    extension = case.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if extension.value != SVID_EXTENDED_KEY_USAGE:
        return "not serverAuth and clientAuth (X509-SVID 4.4)"
    return "critical" if extension.critical else ""


def _svid_names_critical(case: _Svid) -> str:
    is_wanted = not case.certificate.subject.rdns
    if case.names.critical is is_wanted:
        return ""
    return "names must be critical if, and only if, the subject is empty (RFC 5280 4.2.1.6)"


def _svid_uri(case: _Svid) -> str:
    if len(case.uris) != 1:
        return f"{len(case.uris)} URI names, not one (X509-SVID 2)"
    spiffe_id = parse_spiffe_id(case.uris[0])
    if not spiffe_id.path:
        return f"SPIFFE ID {spiffe_id} has no path (X509-SVID 2)"
    if spiffe_id != case.wanted.spiffe_id:
        return f"SPIFFE ID {spiffe_id}, granted {case.wanted.spiffe_id}"
    return ""


def _svid_trust_domain(case: _Svid) -> str:
    names = case.issuer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    domain = case.wanted.spiffe_id.trust_domain.id
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [str(domain)]:
        return f"the issuer is not of the trust domain {domain} (X509-SVID 4.1)"
    return ""


def _svid_dns_names(case: _Svid) -> str:
    alias = case.wanted.spiffe_id.alias
    names = case.names.value.get_values_for_type(x509.DNSName)
    if names.count(alias) != 1:
        return f"the DNS alias {alias} is not there once"
    others = [name for name in names if name != alias]
    if len(alias) != 52 + len(ALIAS_SUFFIX):
        return f"the DNS alias {alias} is not of 52 characters"
    for name in others:
        check_dns_name(name)
    return "" if others == list(case.wanted.dns_names) else "not exactly the DNS names of the entry"


def _svid_other_names(case: _Svid) -> str:
    for name in case.names.value:
        if not isinstance(name, x509.UniformResourceIdentifier | x509.DNSName):
            return f"a name of type {type(name).__name__}"
    return ""


# Rules for a CA certificate.


def _authority_extensions(case: _Authority) -> str:
    return _difference(case.extensions, AUTHORITY_EXTENSIONS)


def _authority_serial(case: _Authority) -> str:
    bits = case.certificate.serial_number.bit_length()
    return "" if 64 <= bits <= 159 else f"{bits} bits, not 64 to 159 (RFC 5280 4.1.2.2)"


def _authority_subject(case: _Authority) -> str:
    if not case.certificate.subject.rdns:
        return "empty (RFC 5280 4.1.2.6)"
    if case.issuer is not None and case.certificate.subject == case.issuer.subject:
        return "the issuer's own"
    return ""


def _authority_key(case: _Authority) -> str:
    return "" if _is_p256(case.certificate.public_key()) else "not P-256"


def _authority_constraints(case: _Authority) -> str:
    extension = case.extensions.get_extension_for_class(x509.BasicConstraints)
    if not extension.critical:
        return "not critical (RFC 5280 4.2.1.9)"
    wanted = x509.BasicConstraints(ca=True, path_length=None if case.issuer is None else 0)
    return "" if extension.value == wanted else f"{extension.value}, not {wanted}"


def _authority_key_usage(case: _Authority) -> str:
    extension = case.extensions.get_extension_for_class(x509.KeyUsage)
    if not extension.critical:
        return "not critical (RFC 5280 4.2.1.3)"
    return "" if extension.value == AUTHORITY_KEY_USAGE else "not keyCertSign and cRLSign alone"


def _authority_names(case: _Authority) -> str:
    if case.names.critical:
        return "critical, though there is a subject (RFC 5280 4.2.1.6)"
    wanted = [x509.UniformResourceIdentifier(str(case.trust_domain.id))]
    return "" if list(case.names.value) == wanted else "not the trust domain's ID alone (X509-SVID 4.1)"


def _difference(extensions: x509.Extensions, wanted: frozenset[x509.ObjectIdentifier]) -> str:
    there = {extension.oid for extension in extensions}
    if missing := sorted(oid.dotted_string for oid in wanted - there):
        return f"missing {', '.join(missing)}"
    if more := sorted(oid.dotted_string for oid in there - wanted):
        return f"not of the profile: {', '.join(more)}"
    return ""


def _is_p256(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


_SVID_RULES: tuple[_Rule[_Svid], ...] = (
    _version,
    _signature_algorithm,
    _svid_extensions,
    _svid_serial,
    _issuer_name,
    _svid_subject,
    _validity,
    _svid_end,
    _svid_key,
    _svid_constraints,
    _svid_key_usage,
    _svid_extended_key_usage,
    _svid_names_critical,
    _svid_uri,
    _svid_trust_domain,
    _svid_dns_names,
    _svid_other_names,
    _subject_key_identifier,
    _authority_key_identifier,
)

_AUTHORITY_RULES: tuple[_Rule[_Authority], ...] = (
    _version,
    _signature_algorithm,
    _authority_extensions,
    _authority_serial,
    _issuer_name,
    _authority_subject,
    _validity,
    _authority_key,
    _authority_constraints,
    _authority_key_usage,
    _authority_names,
    _subject_key_identifier,
    _authority_key_identifier,
)
