"""The certificate chain that a caller has presented, as gRPC gives it to a server (pure).

Used by the library's interceptor and by the CA's front. Not checked here: anything that the certificates say.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509

from inborn._internal.spiffe.x509_svid import MAX_CERTIFICATE_SIZE, MAX_CHAIN_LENGTH
from inborn.errors import UnauthenticatedError

__all__ = ["NoCertificate", "presented_leaf", "presented_pem", "read_presented"]

_MAX_PEM = 2 * MAX_CHAIN_LENGTH * MAX_CERTIFICATE_SIZE  # bytes: PEM is DER and a third


class NoCertificate(UnauthenticatedError):
    """The connection has no client certificate, or one that cannot be read."""


def presented_leaf(auth_context: Mapping[str, object]) -> bytes:
    """The leaf in PEM. Raises `NoCertificate` where there is none."""
    leaf = _first(auth_context, "x509_pem_cert")
    if not leaf:
        raise NoCertificate("connection has no client certificate")
    return leaf


def presented_pem(auth_context: Mapping[str, object]) -> bytes:
    """The chain in PEM, leaf first. What gRPC calls the chain is, on the server's side, the chain without its leaf (as
    in OpenSSL). Raises `NoCertificate`."""
    leaf, issuers = presented_leaf(auth_context), _first(auth_context, "x509_pem_cert_chain")
    pem = issuers if issuers.startswith(leaf) else leaf + issuers
    if len(pem) > _MAX_PEM:
        raise NoCertificate(f"client certificate chain is larger than {_MAX_PEM} bytes: {len(pem)}")
    return pem


def read_presented(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The chain that `presented_pem` gave. Raises `NoCertificate`, also for one longer than an SVID's may be."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as e:
        raise NoCertificate("client certificate cannot be read") from e
    if len(chain) > MAX_CHAIN_LENGTH:
        raise NoCertificate(f"client certificate chain is longer than {MAX_CHAIN_LENGTH} certificates: {len(chain)}")
    return tuple(chain)


def _first(auth_context: Mapping[str, object], name: str) -> bytes:
    values = auth_context.get(name)
    return values[0] if isinstance(values, list | tuple) and values and isinstance(values[0], bytes) else b""
