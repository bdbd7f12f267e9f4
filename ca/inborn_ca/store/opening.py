"""How the signer comes to a store: by the directory of its CA, whatever keeps the rows in there.

A database that several CAs share will be named by an address in that directory; nobody but this module will know.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inborn.errors import AlreadyExistsError, NotFoundError
from inborn_ca.store.interface import Store
from inborn_ca.store.place import database_file, exists
from inborn_ca.store.sqlite.restoring import restoring
from inborn_ca.store.sqlite.sqlite_store import open_sqlite

__all__ = ["open_store", "restored_store"]


def open_store(directory: Path, *, now: dt.datetime) -> Store:
    """Open the database of the CA in `directory`; lay it out if there is none, carry it over from an older program.

    A new one gets a `log_id` (16 random bytes, hex) among its meta values. Not checked: that no other process has it
    open, and every page of it.

    Raises `ForeignDatabase` for another program's file, `StoreVersionError` for a newer program's, `BackupNotRestored`,
    `DatabaseDamaged`, `DatabaseUnavailable`.
    """
    return open_sqlite(database_file(directory), now=now)


@contextmanager
def restored_store(
    backup: Path, directory: Path, *, now: dt.datetime
) -> Iterator[tuple[Store, Sequence[tuple[bytes, bytes]]]]:
    """Open a copy of `backup`, with the encrypted keys in it as (key_id, PKCS#8), to make a database of it.

    When the block ends, it is the database of the CA in `directory`; when it raises, there is nothing of it. Raises
    `AlreadyExistsError` when there is a database, `NotFoundError`, `ForeignDatabase` if it is no backup,
    `DatabaseDamaged`.
    """
    if exists(directory):
        raise AlreadyExistsError(
            f"{directory} has a CA's database already", hint="restore into an empty data directory"
        )
    if not backup.is_file():
        raise NotFoundError(f"there is no backup at {backup}")
    with restoring(backup, database_file(directory), now=now) as restored:
        yield restored
