"""The parser of certificate requests takes any bytes, and only ever says no or gives a P-256 key that was proven."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn.errors import RequestError
from inborn_ca.certificates.issuance import BadCsr, read_csr
from inborn_ca.model.dns_name import check_dns_name
from inborn_ca.model.registration_entry import NodeMatch, check_node_name

KEY = ec.generate_private_key(ec.SECP256R1())
CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("web")]), critical=False)
    .sign(KEY, hashes.SHA256())
    .public_bytes(Encoding.DER)
)
TD = TrustDomain("example.org")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


T = TypeVar("T")


def refused_in_one_line(call: Callable[[], T]) -> T | None:
    """What the call gives, or None after a refusal that can be shown."""
    error = None
    try:
        return call()
    except RequestError as e:
        error = e
    assert error.message.isprintable()
    return None


@given(st.binary(max_size=300))
def test_random_octets_are_refused(data: bytes) -> None:
    try:
        read_csr(data)
    except BadCsr:
        return
    raise AssertionError("random bytes were taken for a request")


@given(st.integers(0, len(CSR) - 1), st.integers(1, 255))
def test_an_altered_octet_never_gives_another_key(at: int, change: int) -> None:
    altered = bytearray(CSR)
    altered[at] ^= change
    key = refused_in_one_line(lambda: read_csr(bytes(altered)))
    if key is None:
        return
    # What is not covered by the signature (encodings of its own) may change; the key may not.
    assert key_sha256(key) == key_sha256(KEY.public_key())


@given(st.integers(0, len(CSR)), st.integers(0, len(CSR)))
def test_a_request_with_a_hole_is_refused(start: int, end: int) -> None:
    if start >= end:
        return
    try:
        read_csr(CSR[:start] + CSR[end:])
    except BadCsr:
        return
    raise AssertionError("a request with a hole was taken")


@given(st.text(max_size=80))
def test_a_node_is_refused_or_written_as_it_was_read(text: str) -> None:
    node = refused_in_one_line(lambda: NodeMatch.parse(text, TD))
    if node is None:
        return
    assert NodeMatch.parse(str(node), TD) == node
    assert str(node).isascii()
    assert str(node).isprintable()


@given(st.text(max_size=80) | st.from_regex(r"[a-z0-9.*-]{1,80}", fullmatch=True))
def test_a_dns_name_that_is_accepted_is_plain_and_not_reserved(text: str) -> None:
    if refused_in_one_line(lambda: check_dns_name(text, forbidden=("ca.test",)) or text) is None:
        return
    assert text == text.lower()
    assert text.isascii()
    assert not any(c in text for c in "*_ \n/@:")
    assert not f".{text}".endswith((".spiffe.alt", ".ca.test"))
    # What is accepted goes into a certificate as it is.
    assert x509.DNSName(text).value == text


@given(st.text(max_size=80))
def test_a_name_of_a_node_that_is_accepted_is_plain(text: str) -> None:
    try:
        check_node_name(text)
    except RequestError:
        return
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").replace(".", "").isalnum() or not text.strip("-_.")
