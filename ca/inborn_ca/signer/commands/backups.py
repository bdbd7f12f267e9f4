"""Backups while the CA runs: one file, without keys or with keys encrypted under a passphrase."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from inborn.errors import AlreadyExistsError, RequestError
from inborn_ca.authorities.key_store import MIN_PASSPHRASE
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2

__all__ = ["Backups"]


class Backups:
    """`inborn ca backup`."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def check(self, request: admin_pb2.BackupRequest) -> Path:
        """The path to write to. Raises if it is not absolute, is there already, or the passphrase is too short."""
        path = Path(request.path)
        if not path.is_absolute() or "\0" in request.path:
            raise RequestError(f"path of a backup must be absolute: {request.path[:200]!a}")
        if os.path.lexists(path):
            raise AlreadyExistsError(f"{path} is there already")
        if not path.parent.is_dir():
            raise RequestError(f"{path.parent} is no directory")
        if request.passphrase and len(request.passphrase) < MIN_PASSPHRASE:
            raise RequestError(f"passphrase is shorter than {MIN_PASSPHRASE} bytes")
        return path

    def write(self, path: Path, passphrase: bytes) -> admin_pb2.BackupResponse:
        """Write the file, at length, in a thread of its own."""
        keys = []
        if passphrase:
            keys = [
                (a.key_id, self._state.keys.export_encrypted(a.key_id, passphrase)) for a in self._state.authorities
            ]
        octets = self._state.store.backup(path, keys=keys)
        return admin_pb2.BackupResponse(path=str(path), size_bytes=octets, with_keys=bool(keys))

    def record(self, response: admin_pb2.BackupResponse, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """The audit row of a backup that was written."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            detail = {"bytes": response.size_bytes, "with_keys": response.with_keys}
            tx.audit.add(audit.row(self._state.clock(), actor, "ca.backup", response.path, detail=detail))
            return lambda: response

        return command
