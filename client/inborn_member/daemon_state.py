"""What a daemon that enrolled without an agent keeps on disk, readable by its user alone.

`identity.json` (key, chain, bundle, where the CA is), `next.json` (the key that is to be asked for, written before it
is), `numbers.json` (how far request numbers may have gone) and `revocations.bin`. Each is written beside its place,
synced and renamed, so that it is whole or the one before it; a file that cannot be read is an error that says so, never
a reason to begin anew. One process at a time: a lock is held while the directory is open.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from inborn._internal.feed.log_parts import LogReader, log_to_wire
from inborn._internal.host.directory_lock import DirectoryLock
from inborn._internal.host.files import private_directory, write_file
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import PrivateKey, X509Svid, key_sha256
from inborn._internal.wire.frames import FrameReader, encode_frame
from inborn.errors import InbornError, InternalError
from inborn_proto import agent_pb2

__all__ = ["DaemonIdentity", "DaemonState", "UnreadableState"]

_MAX_FILE = 256 * 1024 * 1024  # octets: a million revoked certificates take forty million


class UnreadableState(InternalError):
    """A file of the directory is damaged, or not of this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonIdentity:
    """Who the daemon is. The certificate may have expired."""

    svid: X509Svid = field(repr=False)
    bundle: X509Bundle
    api_address: str
    log_id: bytes
    token_id: bytes
    """The token that it was enrolled with."""


class DaemonState:
    """The directory. Methods block; a write is durable when it returns, and raises `UnavailableError` if it failed."""

    def __init__(self, directory: Path) -> None:
        """Make the directory (0700) where it is missing, and lock it. Raises `DirectoryInUse`, `UnavailableError`."""
        self._directory = private_directory(directory)
        self._lock = DirectoryLock(directory)

    def close(self) -> None:
        self._lock.release()

    def identity(self) -> DaemonIdentity | None:
        """The one that is kept, if there is one. Raises `UnreadableState`."""
        document = self._read("identity.json")
        if document is None:
            return None
        try:
            issued_at = dt.datetime.fromisoformat(document["issued_at"])
            svid = X509Svid.parse(_octets(document["chain"]), _octets(document["key"]), issued_at=issued_at)
            return DaemonIdentity(
                svid=svid,
                bundle=X509Bundle.parse(svid.spiffe_id.trust_domain, _octets(document["bundle"])),
                api_address=document["api_address"],
                log_id=_octets(document["log_id"]),
                token_id=_octets(document["token_id"]),
            )
        except (InbornError, KeyError, ValueError) as e:
            raise self._unreadable("identity.json", e) from e

    def keep_identity(self, identity: DaemonIdentity) -> None:
        """Keep this one instead of the one before. The next key is over when it has become this one's."""
        svid = identity.svid
        self._write(
            "identity.json",
            {
                "spiffe_id": str(svid.spiffe_id),
                "key": _text(svid.key_der()),
                "chain": _text(svid.chain_der()),
                "bundle": _text(identity.bundle.der()),
                "issued_at": (svid.issued_at or dt.datetime.now(dt.UTC)).isoformat(),
                "api_address": identity.api_address,
                "log_id": _text(identity.log_id),
                "token_id": _text(identity.token_id),
            },
        )

    def next_key(self, purpose: bytes) -> ec.EllipticCurvePrivateKey:
        """The one key that is asked for under this purpose (a token's ID, a predecessor's key hash): made and kept at
        first, the same after a lost reply or a crash. Raises `UnreadableState`."""
        document = self._read("next.json")
        if document is not None and "for" not in document:
            raise self._unreadable("next.json", ValueError("it does not say what its key is for"))
        if document is not None and document["for"] == purpose.hex():
            try:
                key = serialization.load_der_private_key(_octets(document["key"]), password=None)
            except (KeyError, ValueError, TypeError) as e:
                raise self._unreadable("next.json", e) from e
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise self._unreadable("next.json", ValueError("not an EC key"))
            return key
        made = ec.generate_private_key(ec.SECP256R1())
        octets = made.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._write("next.json", {"for": purpose.hex(), "key": _text(octets)})
        return made

    def reserved_number(self, key: PrivateKey) -> int:
        """Up to which number requests of this key may have gone; 0 for a key that has asked for nothing."""
        document = self._read("numbers.json")
        if document is None or document.get("key") != key_sha256(key.public_key()).hex():
            return 0
        try:
            return int(document["reserved"])
        except (KeyError, ValueError) as e:
            raise self._unreadable("numbers.json", e) from e

    def reserve_number(self, key: PrivateKey, number: int) -> None:
        """Numbers up to this one may be used from now on."""
        self._write("numbers.json", {"key": key_sha256(key.public_key()).hex(), "reserved": str(number)})

    def revocations(self) -> RevocationSet:
        """What was known when it was kept; empty if nothing was. Raises `UnreadableState`."""
        kept = RevocationSet()
        octets = self._read_octets("revocations.bin")
        if octets is None:
            return kept
        reader, parts = FrameReader(_MAX_FILE), LogReader()
        try:
            for frame in reader.feed(octets):
                log = parts.read(agent_pb2.Revocations.FromString(frame))
                if log is not None:
                    kept.apply_log(log)
        except (InbornError, DecodeError) as e:
            raise self._unreadable("revocations.bin", e) from e
        if not octets or not reader.is_empty or parts.is_between:
            raise self._unreadable("revocations.bin", ValueError("it is cut off"))
        return kept

    def keep_revocations(self, revocations: RevocationSet) -> None:
        frames = [encode_frame(m.SerializeToString()) for log in revocations.logs() for m in log_to_wire(log)]
        self._write_octets("revocations.bin", b"".join(frames))

    # -- files ---------------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, str] | None:
        octets = self._read_octets(name)
        if octets is None:
            return None
        try:
            document = json.loads(octets)
        except ValueError as e:
            raise self._unreadable(name, e) from e
        if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
            raise self._unreadable(name, ValueError("not an object of strings"))
        return document

    def _read_octets(self, name: str) -> bytes | None:
        try:
            descriptor = os.open(self._directory / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise self._unreadable(name, e) from e
        with open(descriptor, "rb") as file:
            octets = file.read(_MAX_FILE + 1)
        if len(octets) > _MAX_FILE:
            raise self._unreadable(name, ValueError(f"larger than {_MAX_FILE} octets"))
        return octets

    def _write(self, name: str, document: dict[str, str]) -> None:
        self._write_octets(name, json.dumps(document).encode())

    def _write_octets(self, name: str, octets: bytes) -> None:
        write_file(self._directory / name, octets)

    def _unreadable(self, name: str, error: Exception) -> UnreadableState:
        return UnreadableState(
            f"{self._directory / name} cannot be read: {error}", hint="remove the directory and enroll anew"
        )


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise ValueError("not base64") from e


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
