"""A certificate that is linted and not yet signed. Made by `issuance.prepare` and by templates, and by nobody else.

What makes one is in this module, which the two import and an import contract keeps everybody else from: whoever could
make one by hand could have the CA sign something that was never linted or recorded.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.spiffe.spiffe_id import SpiffeId
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn.errors import InternalError

__all__ = ["MADE_HERE", "IssuerKey", "Prepared"]

MADE_HERE: Final = object()
"""Shown by the two modules that may make a `Prepared`."""

_ECDSA = ec.ECDSA(hashes.SHA256())


class IssuerKey:
    """An issuing authority's private key, and what its certificate's public key must be. Made once an authority."""

    __slots__ = ("_private", "key_hash")

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.key_hash: Final = key_sha256(private.public_key())

    def sign(self, octets: bytes) -> bytes:
        """ECDSA with SHA-256, DER."""
        return self._private.sign(octets, _ECDSA)

    def __repr__(self) -> str:
        return f"<IssuerKey {self.key_hash.hex()}>"


class Prepared:
    """A linted to-be-signed certificate that waits for its signature. Spent by `issue` once."""

    __slots__ = ("_tbs", "authority", "issuer_key", "key_hash", "not_after", "not_before", "serial", "spiffe_id")

    def __init__(
        self,
        made_by: object,
        *,
        tbs: bytes,
        spiffe_id: SpiffeId,
        serial: bytes,
        key_hash: bytes,
        authority: bytes,
        issuer_key: bytes,
        not_before: dt.datetime,
        not_after: dt.datetime,
    ) -> None:
        """`authority` is the issuer's subject key identifier, `issuer_key` the SHA-256 of its public key."""
        if made_by is not MADE_HERE:
            raise InternalError("a prepared certificate is made by prepare() and templates alone")
        self.spiffe_id: Final = spiffe_id
        self.serial: Final = serial
        self.key_hash: Final = key_hash
        self.not_before: Final = not_before
        self.not_after: Final = not_after
        self.authority: Final = authority
        self.issuer_key: Final = issuer_key
        self._tbs = [tbs]

    def __init_subclass__(cls) -> NoReturn:
        raise InternalError("a prepared certificate has no kinds: a subclass could skip what makes one")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Neither copied nor pickled: a copy could be spent as well."""
        raise InternalError(f"prepared certificate {self.serial.hex()} cannot be copied")

    def unsigned_octets(self) -> bytes:
        """The to-be-signed certificate, DER. Raises `InternalError` once it has been spent."""
        if not self._tbs:
            raise InternalError(f"prepared certificate {self.serial.hex()} has been spent")
        return self._tbs[0]

    def spend(self, key: IssuerKey) -> tuple[bytes, bytes]:
        """The to-be-signed certificate and its signature, once. For `issue` alone, which looks at what comes out.

        It is spent also if signing fails. Raises `InternalError` for the second time, and for a key that is not that
        of the authority which the certificate names.
        """
        try:
            tbs = self._tbs.pop()
        except IndexError:
            raise InternalError(f"prepared certificate {self.serial.hex()} has been spent") from None
        if key.key_hash != self.issuer_key:
            raise InternalError(
                f"certificate {self.serial.hex()} names an issuer whose key is {self.issuer_key.hex()}, "
                f"it was to be signed with {key.key_hash.hex()}"
            )
        return tbs, key.sign(tbs)

    def __repr__(self) -> str:
        return f"<Prepared {self.spiffe_id} {self.serial.hex()}>"
