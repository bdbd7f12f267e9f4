"""A store that is closed while another thread reads: the reader is refused, and the process lives."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

from inborn.errors import InbornError
from inborn_ca.store.sqlite.sqlite_store import open_sqlite


def test_store_that_is_closed_under_a_readers_hands_refuses_and_does_not_crash(tmp_path: Path) -> None:
    for n in range(10):
        store = open_sqlite(tmp_path / f"{n}.db", now=dt.datetime.now(dt.UTC))
        readers = [store.reader() for _ in range(2)]
        refused: list[InbornError] = []

        def read(reader: object, refused: list[InbornError] = refused) -> None:
            try:
                while True:
                    reader.revocations.seq()  # type: ignore[attr-defined]
            except InbornError as e:
                refused.append(e)

        threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
        for thread in threads:
            thread.start()
        store.close()
        for thread in threads:
            thread.join(10)
        assert len(refused) == 2
