"""A backup becomes a database: a copy is rewritten beside its place, and put there once all of it is durable."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inborn._internal.host.files import sync_directory
from inborn_ca.store.sqlite.backup import read_backup_keys
from inborn_ca.store.sqlite.sqlite_store import SqliteStore, open_sqlite

__all__ = ["restoring"]


@contextmanager
def restoring(
    backup: Path, database: Path, *, now: dt.datetime
) -> Iterator[tuple[SqliteStore, list[tuple[bytes, bytes]]]]:
    """Open a copy of `backup`, with its encrypted keys; when the block ends it lies at `database`, or not at all."""
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = database.with_name(f"{database.name}.restoring")
    try:
        shutil.copyfile(backup, partial)
        partial.chmod(0o600)
        keys = read_backup_keys(partial, remove=True)
        store = open_sqlite(partial, now=now)
        try:
            yield store, keys
        finally:
            store.close()
        os.replace(partial, database)
        sync_directory(database.parent)
    finally:
        for leftover in database.parent.glob(f"{database.name}.restoring*"):
            leftover.unlink()
