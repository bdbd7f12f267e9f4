"""Directories of daemons from before they were kept as agents' are: carried over once, at the first start.

There were `identity.json`, `next.json` (one key, of an enrollment or a renewal), `numbers.json` and `revocations.bin`,
JSON and frames without a seal. What is damaged is treated as its successor is (see `identity_store` and
`kept_revocations`). The numbers are not needed: they began at 0, and go on far beyond. A crash in the middle is no
harm: the identity goes last, and what is there is not written again.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.host.files import CorruptFile, set_aside, sync_directory
from inborn._internal.host.log import get_logger
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid, key_sha256
from inborn.errors import InbornError, UnavailableError
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.kept_revocations import KeptRevocations, UnreadableRevocations, frames_in, read_logs

__all__ = ["carry_over"]

_log = get_logger("member.identity")

_MAX_FILE = 256 * 1024 * 1024  # bytes: a million revoked certificates take forty million


def carry_over(directory: Path, store: IdentityStore, kept: KeptRevocations) -> None:
    """Write what former files say into the files of today, and remove them. Does nothing where there are none.

    Raises `UnreadableRevocations`, `UnavailableError`.
    """
    names = ("identity.json", "next.json", "revocations.bin", "numbers.json")
    former = [directory / name for name in names]
    if not any(os.path.lexists(path) for path in former):
        return
    identity, key, revocations, _ = former
    if not (directory / "revocations").exists():
        _carry_revocations(revocations, kept)
    if not (directory / "identity").exists():
        record = _read_identity(identity)
        _carry_key(key, store, record)
        if record is not None:
            store.amend(record)
    for path in former:
        path.unlink(missing_ok=True)
    try:
        sync_directory(directory)
    except OSError as error:
        raise UnavailableError(f"cannot write {directory}: {error.strerror}") from error
    _log.event("identity.carried_over", directory=directory)


def _read_identity(path: Path) -> IdentityRecord | None:
    try:
        document = _document(path)
        if document is None:
            return None
        svid = X509Svid.parse(
            _octets(document["chain"]),
            _octets(document["key"]),
            issued_at=dt.datetime.fromisoformat(document["issued_at"]),
        )
        return IdentityRecord(
            svid=svid,
            bundle=X509Bundle.parse(svid.spiffe_id.trust_domain, _octets(document["bundle"])),
            log_id=_octets(document["log_id"]),
            api_address=document["api_address"],
            evidence=_octets(document["token_id"]),
        )
    except (InbornError, KeyError, ValueError) as error:
        _log.warning("identity.set_aside", file=set_aside(path), reason=error)
        return None


def _carry_key(path: Path, store: IdentityStore, record: IdentityRecord | None) -> None:
    """The key that was to be asked for next: of a renewal where it follows on the identity's, else of an enrollment."""
    try:
        document = _document(path)
        if document is None:
            return
        key = serialization.load_der_private_key(_octets(document["key"]), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CorruptFile("not an EC key")
        purpose = bytes.fromhex(document["for"])
    except (InbornError, KeyError, ValueError, TypeError) as error:
        _log.warning("key.set_aside", file=set_aside(path), reason=error)
        return
    if record is not None and purpose == key_sha256(record.svid.private_key.public_key()):
        store.put_successor(record.svid, key)
    else:
        store.put_enrolling_key(purpose, key)


def _carry_revocations(path: Path, kept: KeptRevocations) -> None:
    try:
        data = _read(path)
        if data is None:
            return
        revocations = RevocationSet()
        for log in read_logs(frames_in(data)):
            revocations.apply_log(log)
        if not revocations.log_id:
            raise CorruptFile("it is empty")
    except InbornError as error:
        raise UnreadableRevocations(
            f"{path} cannot be read: {error.message}", hint="remove the directory and enroll anew"
        ) from error
    kept.save(revocations)


def _document(path: Path) -> dict[str, str] | None:
    data = _read(path)
    if data is None:
        return None
    document = json.loads(data)
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise CorruptFile("not an object of strings")
    return document


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise CorruptFile(f"{path} is larger than {_MAX_FILE} bytes")
    return data


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise CorruptFile("not base64") from error
