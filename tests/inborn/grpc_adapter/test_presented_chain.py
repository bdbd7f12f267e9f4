"""The chain of a caller, as gRPC's server has it."""

from __future__ import annotations

import pytest

from inborn._internal.grpc_adapter.presented_chain import NoCertificate, presented_pem, read_presented
from inborn._internal.spiffe.x509_svid import MAX_CHAIN_LENGTH
from tests.rigs.certificates import make_issuing, make_leaf, make_root

ISSUING = make_issuing(make_root())
LEAF = make_leaf(ISSUING, "/web")


@pytest.mark.parametrize("issuers", [ISSUING.chain_pem, LEAF.pem + ISSUING.chain_pem])
def test_leaf_comes_first_and_once_whether_or_not_the_chain_names_it(issuers: bytes) -> None:
    chain = read_presented(presented_pem({"x509_pem_cert": [LEAF.pem], "x509_pem_cert_chain": [issuers]}))
    assert chain == (LEAF.certificate, *(ISSUING.certificate,))


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"x509_pem_cert": []},
        {"x509_pem_cert": [b""]},
        {"x509_pem_cert": ["text"]},
        {"x509_pem_cert": LEAF.pem},
        {"x509_pem_cert_chain": [ISSUING.chain_pem]},
        {"x509_pem_cert": [b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]},
        {"x509_pem_cert": [LEAF.pem], "x509_pem_cert_chain": [b"x" * 1_000_000]},
        {"x509_pem_cert": [LEAF.pem], "x509_pem_cert_chain": [ISSUING.pem * MAX_CHAIN_LENGTH]},
    ],
)
def test_what_is_no_chain_is_refused(context: dict[str, object]) -> None:
    with pytest.raises(NoCertificate):
        read_presented(presented_pem(context))
