"""A member's own identity on disk, readable by its user alone: key and certificate, the successor key that is to follow
it, the key of an enrollment that is under way, and how far its request numbers have gone. Of agents and of daemons
without one.

What each file that is missing or damaged leads to (a damaged one is set aside, and the log says so):

    identity    the member enrolls anew
    successor   another successor is made; the CA refuses it, with an alarm, if it has certified the lost one
    enrolling   another key is made; the CA refuses it, with an alarm, if the evidence was for one key alone
    numbers     they go on beyond all that can have been used

None of them makes anybody believe more than before. What a member knows to be revoked is kept elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.host.files import CorruptFile, read_sealed, set_aside, write_sealed
from inborn._internal.host.log import get_logger
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid, key_sha256
from inborn.errors import InbornError
from inborn_member.enrolled import Enrolled

__all__ = ["IdentityRecord", "IdentityStore"]

_log = get_logger("member.identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRecord:
    """Who a member is. The certificate may have expired."""

    svid: X509Svid = field(repr=False)
    bundle: X509Bundle
    log_id: bytes
    """Under which the certificate was issued."""
    api_address: str
    evidence: bytes = b""
    """Names what it was enrolled with (a join token by its ID): used up, wherever it may still lie."""

    @classmethod
    def of(cls, enrolled: Enrolled) -> IdentityRecord:
        return cls(
            svid=enrolled.svid,
            bundle=enrolled.bundle,
            log_id=enrolled.log_id,
            api_address=enrolled.api_address,
            evidence=enrolled.evidence,
        )

    @property
    def trust_domain(self) -> TrustDomain:
        return self.bundle.trust_domain


class IdentityStore:
    """The files in `directory`. Every method blocks; every write is durable when it returns."""

    def __init__(self, directory: Path) -> None:
        self._identity = directory / "identity"
        self._successor = directory / "successor"
        self._enrolling = directory / "enrolling"
        self._numbers = directory / "numbers"

    def load(self) -> IdentityRecord | None:
        """The identity that is kept; None if there is none, or none that can be read."""
        document = _read(self._identity)
        if document is None:
            return None
        try:
            issued_at = dt.datetime.fromisoformat(_text(document, "issued_at"))
            if issued_at.tzinfo is None:
                raise CorruptFile("time of issue has no zone")
            svid = X509Svid.parse(_octets(document, "chain"), _octets(document, "key"), issued_at=issued_at)
            bundle = X509Bundle.parse(svid.spiffe_id.trust_domain, _octets(document, "roots"))
            return IdentityRecord(
                svid=svid,
                bundle=bundle,
                log_id=_octets(document, "log_id"),
                api_address=_text(document, "api_address"),
                evidence=_octets(document, "token_id"),
            )
        except (InbornError, ValueError) as error:
            _log.warning("identity.set_aside", file=set_aside(self._identity), reason=error)
            return None

    def save(self, record: IdentityRecord) -> None:
        """Keep this identity instead of the one before; successor and enrollment are over. Raises
        `UnavailableError`."""
        self.amend(record)
        self._successor.unlink(missing_ok=True)
        self._enrolling.unlink(missing_ok=True)

    def amend(self, record: IdentityRecord) -> None:
        """Keep what has changed around a certificate that stays: a renewal that is under way goes on with its
        successor. Raises `UnavailableError`."""
        issued_at = record.svid.issued_at or dt.datetime.now(dt.UTC)
        _write(
            self._identity,
            {
                "key": _encoded(record.svid.key_der()),
                "chain": _encoded(record.svid.chain_der()),
                "roots": _encoded(record.bundle.der()),
                "log_id": _encoded(record.log_id),
                "api_address": record.api_address,
                "token_id": _encoded(record.evidence),
                "issued_at": issued_at.isoformat(),
            },
        )

    def successor(self, predecessor: X509Svid) -> ec.EllipticCurvePrivateKey:
        """The one key that follows this identity's: kept before anybody is asked, the same for each attempt."""
        return _key_for(self._successor, key_sha256(predecessor.private_key.public_key()).hex())

    def enrolling_key(self, evidence: bytes) -> ec.EllipticCurvePrivateKey:
        """The one key that is enrolled with what has this name: a lost reply can be asked for again with it."""
        return _key_for(self._enrolling, evidence.hex())

    def put_successor(self, predecessor: X509Svid, key: ec.EllipticCurvePrivateKey) -> None:
        """Have `successor` give this key, which may have been asked for already. Raises `UnavailableError`."""
        _write_key(self._successor, key_sha256(predecessor.private_key.public_key()).hex(), key)

    def put_enrolling_key(self, evidence: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        """Have `enrolling_key` give this key, which may have been asked for already. Raises `UnavailableError`."""
        _write_key(self._enrolling, evidence.hex(), key)

    def reserved_number(self, svid: X509Svid, now: dt.datetime) -> int:
        """Up to which number the requests of this identity's key may have gone.

        Where that is not known (a new key, or the file was lost), so many as there have been milliseconds: more than
        were ever used.
        """
        document = _read(self._numbers)
        if document is not None and document.get("key") == key_sha256(svid.private_key.public_key()).hex():
            reserved = document.get("reserved")
            if isinstance(reserved, int) and reserved >= 0:
                return reserved
        return int(now.timestamp() * 1000)

    def reserve_numbers(self, svid: X509Svid, number: int) -> None:
        """Numbers up to this one may be used. Raises `UnavailableError`."""
        _write(self._numbers, {"key": key_sha256(svid.private_key.public_key()).hex(), "reserved": number})


def _key_for(path: Path, purpose: str) -> ec.EllipticCurvePrivateKey:
    document = _read(path)
    if document is not None and document.get("for") == purpose:
        try:
            key = serialization.load_der_private_key(_octets(document, "key"), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        except (CorruptFile, ValueError, TypeError, UnsupportedAlgorithm):
            pass
        _log.warning("key.set_aside", file=set_aside(path), reason="not a key")
    made = ec.generate_private_key(ec.SECP256R1())
    _write_key(path, purpose, made)
    return made


def _write_key(path: Path, purpose: str, key: ec.EllipticCurvePrivateKey) -> None:
    octets = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, {"for": purpose, "key": _encoded(octets)})


def _write(path: Path, document: Mapping[str, object]) -> None:
    write_sealed(path, json.dumps(document).encode())


def _read(path: Path) -> dict[str, object] | None:
    try:
        data = read_sealed(path)
        if data is None:
            return None
        document = json.loads(data)
        if not isinstance(document, dict):
            raise CorruptFile("not an object")
    except (InbornError, ValueError) as error:
        _log.warning("identity.set_aside", file=set_aside(path), reason=error)
        return None
    return document


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise CorruptFile(f"it has no {name}")
    return value


def _octets(document: Mapping[str, object], name: str) -> bytes:
    try:
        return base64.b64decode(_text(document, name), validate=True)
    except binascii.Error as error:
        raise CorruptFile(f"its {name} is no base64") from error


def _encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
