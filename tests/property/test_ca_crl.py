"""A list encoded by hand is, octet for octet, what the library's builder makes."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from inborn._internal.revocation.reason import is_reason, reason_name
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn_ca.authorities.authority_life import make_root
from inborn_ca.authorities.crl import build_crl

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = make_root(trust_domain=TrustDomain("example.org"), key=KEY, now=NOW, life=dt.timedelta(days=40 * 365))

times = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2060, 1, 1)).map(lambda at: at.replace(tzinfo=dt.UTC))
serials = st.binary(min_size=1, max_size=19).filter(lambda octets: octets[0] != 0)
entries = st.lists(
    st.tuples(serials, times, st.sampled_from(list(filter(is_reason, range(16))))),
    max_size=12,
    unique_by=lambda entry: entry[0],
)


@settings(max_examples=150, deadline=None)
@given(revoked=entries, number=st.integers(1, 2**64), start=times, life=st.integers(1, 10**8))
def test_list_by_hand_equals_the_builders(
    revoked: list[tuple[bytes, dt.datetime, int]], number: int, start: dt.datetime, life: int
) -> None:
    start = start.replace(microsecond=0)
    end = start + dt.timedelta(seconds=life)
    made = build_crl(issuer=ISSUER, key=KEY, number=number, this_update=start, next_update=end, revoked=revoked)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ISSUER.subject)
        .last_update(start)
        .next_update(end)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(KEY.public_key()), critical=False)
    )
    for serial, at, reason in sorted(revoked, key=lambda entry: int.from_bytes(entry[0], "big")):
        entry = x509.RevokedCertificateBuilder().serial_number(int.from_bytes(serial, "big")).revocation_date(at)
        if reason:
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason_name(reason))), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    crl = x509.load_der_x509_crl(made)
    assert crl.tbs_certlist_bytes == builder.sign(KEY, hashes.SHA256()).tbs_certlist_bytes
    assert crl.is_signature_valid(KEY.public_key())
