"""A backup becomes a database: a copy is rewritten beside its place, and put there once all of it is durable."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inborn._internal.host.files import make_directory, new_file
from inborn_ca.store.sqlite.backup import DATABASE_FILES, read_backup_keys
from inborn_ca.store.sqlite.sqlite_store import SqliteStore, open_sqlite

__all__ = ["restoring"]


@contextmanager
def restoring(
    backup: Path, database: Path, *, now: dt.datetime
) -> Iterator[tuple[SqliteStore, list[tuple[bytes, bytes]]]]:
    """Open a copy of `backup`, with its encrypted keys; when the block ends it lies at `database`, or not at all."""
    make_directory(database.parent, mode=0o700)
    with new_file(database, leftovers=DATABASE_FILES) as partial:
        shutil.copyfile(backup, partial)
        keys = read_backup_keys(partial, remove=True)
        store = open_sqlite(partial, now=now)
        try:
            yield store, keys
        finally:
            store.close()
