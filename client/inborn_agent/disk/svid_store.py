"""SVIDs and keys of workloads across a restart of the agent: in memory only (tmpfs), one file an entry.

They do not survive a restart of the machine, and where there is no tmpfs nothing is kept.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inborn._internal.host.files import CorruptFile, private_directory, read_sealed, set_aside, write_sealed
from inborn._internal.host.log import get_logger
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn.errors import InbornError
from inborn_agent.cache.slots import Held
from inborn_agent.disk.tmpfs import is_in_memory

__all__ = ["KeptSvid", "SvidStore"]

_log = get_logger("agent.svid_store")
_SUFFIX = ".svid"
_NAME = re.compile(r"[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSvid:
    """An SVID as it was kept. `revision` is that of the entry which it was issued for."""

    entry_id: str
    revision: int
    svid: X509Svid


class SvidStore:
    """Files below `directory` / svids. `is_active` is False, and nothing is written, where that is not in memory."""

    def __init__(self, directory: Path, *, allow_disk: bool = False) -> None:
        # Each on its own: a directory above may lie where anybody may make one first.
        self._directory = private_directory(private_directory(directory) / "svids")
        self.is_active = allow_disk or is_in_memory(self._directory)
        if not self.is_active:
            _log.warning("keys.not_cached", directory=self._directory, reason="it is not on a tmpfs")

    def put(self, held: Held[X509Svid], *, revision: int) -> None:
        """Keep this SVID instead of the one that is kept for the entry. Raises `UnavailableError`."""
        if not self.is_active or not _NAME.fullmatch(held.entry.id):
            return
        issued_at = held.svid.issued_at
        document = {
            "entry": held.entry.id,
            "revision": revision,
            "issued_at": issued_at.isoformat() if issued_at is not None else "",
            "chain": base64.b64encode(held.svid.chain_der()).decode(),
            "key": base64.b64encode(held.svid.key_der()).decode(),
        }
        # Not durable: a tmpfs has nothing to sync to, and rename is all that a killed process needs.
        write_sealed(self._path(held.entry.id), json.dumps(document).encode(), is_durable=False)

    def drop(self, entry_id: str) -> None:
        """Forget what is kept for the entry."""
        if _NAME.fullmatch(entry_id):
            self._path(entry_id).unlink(missing_ok=True)

    def load(self) -> Iterator[KeptSvid]:
        """All that is kept; what cannot be read is set aside. Not checked: whether it may still be used."""
        if not self.is_active:
            return
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                kept = _read(path)
            except InbornError as error:
                _log.warning("svid.set_aside", file=set_aside(path), reason=error.message)
                continue
            if kept is not None:
                yield kept

    def _path(self, entry_id: str) -> Path:
        return self._directory / (entry_id + _SUFFIX)


def _read(path: Path) -> KeptSvid | None:
    data = read_sealed(path)
    if data is None:
        return None
    try:
        document = json.loads(data)
        entry_id, revision = str(document["entry"]), int(document["revision"])
        issued_at = dt.datetime.fromisoformat(document["issued_at"]) if document["issued_at"] else None
        chain = base64.b64decode(document["chain"], validate=True)
        key = base64.b64decode(document["key"], validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error) as error:
        raise CorruptFile(f"{path} is not what this program writes") from error
    if entry_id != path.name.removesuffix(_SUFFIX) or (issued_at is not None and issued_at.tzinfo is None):
        raise CorruptFile(f"{path} is that of another entry, or has a time without a zone")
    return KeptSvid(entry_id=entry_id, revision=revision, svid=X509Svid.parse(chain, key, issued_at=issued_at))
