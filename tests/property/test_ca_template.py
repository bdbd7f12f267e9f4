"""A filled template is, octet for octet, what the library's builder makes."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn.errors import InternalError
from inborn_ca.authorities.authority_life import make_issuing, make_root
from inborn_ca.certificates.issuance import IssuerExpired, IssuerKey, issue, prepare
from inborn_ca.certificates.template import Templates

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TD = TrustDomain("example.org")
ROOT_KEY, KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ROOT = make_root(trust_domain=TD, key=ROOT_KEY, now=NOW, life=dt.timedelta(days=30 * 365))
ISSUER = make_issuing(trust_domain=TD, root=ROOT, root_key=ROOT_KEY, key=KEY, now=NOW, life=dt.timedelta(days=29 * 365))
LEAF_KEYS = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(8)]
TEMPLATES = Templates(ISSUER)

segments = st.text("abcXYZ019._-", min_size=1, max_size=60).filter(lambda s: s not in (".", ".."))
ids = st.lists(segments, min_size=1, max_size=6).map(lambda s: SpiffeId(trust_domain=TD, path="/" + "/".join(s)))
labels = st.text("abcdefghij0123456789", min_size=1, max_size=30)
dns_names = st.lists(labels.map(lambda label: f"{label}.example.org"), max_size=4, unique=True)
serials = st.binary(min_size=18, max_size=18).flatmap(lambda r: st.integers(1, 0x7F).map(lambda b: bytes([b]) + r))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    spiffe_id=ids,
    names=dns_names,
    common_name=st.text("abc XYZ-.", max_size=30).map(str.strip),
    serial=serials,
    key=st.sampled_from(LEAF_KEYS),
    ttl=st.integers(1, 10**6),
    later=st.integers(0, 28 * 365 * 86400),
    micros=st.integers(0, 999_999),
)
def test_template_equals_builder(
    spiffe_id: SpiffeId,
    names: list[str],
    common_name: str,
    serial: bytes,
    key: ec.EllipticCurvePublicKey,
    ttl: int,
    later: int,
    micros: int,
) -> None:
    values = {
        "spiffe_id": spiffe_id,
        "public_key": key,
        "serial": serial,
        "ttl": dt.timedelta(seconds=ttl),
        "now": NOW + dt.timedelta(seconds=later, microseconds=micros),
        "backdate": dt.timedelta(seconds=30),
        "dns_names": tuple(names),
        "common_name": common_name,
    }
    built, filled = prepare(issuer=ISSUER, **values), TEMPLATES.prepare(**values)  # type: ignore[arg-type]
    assert filled.unsigned_octets() == built.unsigned_octets()
    for each in ("spiffe_id", "serial", "key_hash", "authority", "issuer_key", "not_before", "not_after"):
        assert getattr(filled, each) == getattr(built, each)


def values(**changed: object) -> dict[str, object]:
    return {
        "spiffe_id": SpiffeId(trust_domain=TD, path="/web"),
        "public_key": LEAF_KEYS[0],
        "serial": b"\1" * 19,
        "ttl": dt.timedelta(hours=1),
        "now": NOW,
        "backdate": dt.timedelta(seconds=30),
        **changed,
    }


def test_signed_template_is_a_certificate_by_its_issuer() -> None:
    certificate = x509.load_der_x509_certificate(issue(TEMPLATES.prepare(**values()), IssuerKey(KEY)))  # type: ignore[arg-type]
    certificate.verify_directly_issued_by(ISSUER)


@pytest.mark.parametrize("leaf", [LEAF_KEYS[0], ed25519.Ed25519PrivateKey.generate().public_key()])
def test_dates_from_2050_on_and_other_keys_go_to_the_builder(leaf: object) -> None:
    late = dt.datetime(2050, 1, 1, tzinfo=dt.UTC)
    changed = values(now=late, public_key=leaf)
    filled = TEMPLATES.prepare(**changed)  # type: ignore[arg-type]
    assert filled.unsigned_octets() == prepare(issuer=ISSUER, **changed).unsigned_octets()  # type: ignore[arg-type]
    assert b"20500101" in filled.unsigned_octets()


def test_expired_issuer_and_bad_serials_are_refused_as_by_the_builder() -> None:
    with pytest.raises(IssuerExpired):
        TEMPLATES.prepare(**values(now=ISSUER.not_valid_after_utc))  # type: ignore[arg-type]
    for serial in (b"\0" * 19, b"\xff" * 19, b"\1" * 18):
        with pytest.raises(InternalError):
            TEMPLATES.prepare(**values(serial=serial))  # type: ignore[arg-type]


def test_a_name_that_the_profile_refuses_makes_no_template() -> None:
    with pytest.raises(InternalError):
        TEMPLATES.prepare(**values(dns_names=("*.example.org",)))  # type: ignore[arg-type]
