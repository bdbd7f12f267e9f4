"""Opening: what is made, what is refused with a clear text; and backups, which are restored and never opened."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn.errors import AlreadyExistsError, InbornError, NotFoundError, PreconditionError, UnavailableError
from inborn_ca.store.errors import BackupNotRestored, DatabaseDamaged, ForeignDatabase, StoreVersionError
from inborn_ca.store.sqlite.backup import read_backup_keys
from inborn_ca.store.sqlite.schema import VERSION
from inborn_ca.store.sqlite.sqlite_store import open_sqlite

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a database that has been used and closed."""
    path = tmp_path / "inborn.db"
    store = open_sqlite(path, now=NOW)
    with store.transaction() as tx:
        for n in range(2000):
            tx.meta.set(f"n{n}", "x" * 100)
        tx.meta.set("trust_domain", "example.org")
    store.close()
    return path


def test_a_new_database_is_private_and_has_a_log_id(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = open_sqlite(tmp_path / "inborn.db", now=NOW)
        with store.transaction() as tx:
            tx.meta.set("a", "b")
            log_id = tx.meta.get("log_id")
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(old)
    assert log_id is not None
    assert len(bytes.fromhex(log_id)) == 16
    assert modes == {0o600}


def test_a_database_is_the_same_when_it_is_opened_again(path: Path) -> None:
    first = open_sqlite(path, now=NOW)
    log_id = first.reader().meta.get("log_id")
    first.close()
    again = open_sqlite(path, now=NOW)
    assert again.reader().meta.get("log_id") == log_id
    assert again.reader().meta.get("trust_domain") == "example.org"
    again.close()


def test_commits_are_synced(path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    assert store.writer.rows("PRAGMA synchronous") == [(2,)]
    assert store.writer.rows("PRAGMA journal_mode") == [("wal",)]
    assert store.writer.rows("PRAGMA foreign_keys") == [(1,)]
    store.close()


def test_every_table_is_strict(path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    tables = store.writer.rows("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
    assert [name for name, is_strict in tables if not is_strict and not name.startswith("sqlite_")] == []
    store.close()


def test_a_database_of_a_newer_program_says_so(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreVersionError, match=f"version {VERSION + 1}") as caught:
        open_sqlite(path, now=NOW)
    assert "newer program" in caught.value.hint


def test_a_database_without_a_version_is_too_old(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()
    with pytest.raises(StoreVersionError):
        open_sqlite(path, now=NOW)


@pytest.mark.parametrize("content", [b"hello", b"\0" * 100, b"x" * 100_000, b"#!/bin/sh\n"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "inborn.db"
    path.write_bytes(content)
    with pytest.raises(ForeignDatabase):
        open_sqlite(path, now=NOW)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "inborn.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match="another program"):
        open_sqlite(path, now=NOW)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "inborn.db"
    path.touch(0o600)
    store = open_sqlite(path, now=NOW)
    assert store.reader().meta.get("log_id")
    store.close()


def look_into(path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    try:
        store.reader().meta.get("trust_domain")
    finally:
        store.close()


@pytest.mark.parametrize("size", [1, 15, 16, 50, 100, 4096, 8192, 40_960])
def test_a_database_that_was_cut_off_is_damaged(path: Path, size: int) -> None:
    os.truncate(path, size)
    with pytest.raises((DatabaseDamaged, ForeignDatabase)):
        look_into(path)


def test_damaged_pages_are_met_as_damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged) as caught:
        look_into(path)
    assert "restore" in caught.value.hint


def test_a_directory_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "inborn.db").mkdir()
    with pytest.raises(InbornError):
        open_sqlite(tmp_path / "inborn.db", now=NOW)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        open_sqlite(tmp_path / "nowhere" / "inborn.db", now=NOW)


def test_a_migration_that_was_cut_short_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inborn_ca.store.sqlite import migrations, schema

    path = tmp_path / "inborn.db"

    def fails(db: object) -> None:
        migrations._lay_out(db)  # type: ignore[arg-type]
        raise ZeroDivisionError

    monkeypatch.setattr(schema, "MIGRATIONS", (fails,))
    with pytest.raises(ZeroDivisionError):
        open_sqlite(path, now=NOW)
    monkeypatch.undo()
    store = open_sqlite(path, now=NOW)
    assert store.reader().meta.get("log_id")
    store.close()


def test_entries_outlive_the_word_that_they_granted_administration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inborn_ca.store.sqlite import schema

    path = tmp_path / "inborn.db"
    before = [step.__name__ for step in schema.MIGRATIONS].index("_drop_admin")
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:before])
    monkeypatch.setattr(schema, "VERSION", before)
    open_sqlite(path, now=NOW).close()
    monkeypatch.undo()
    row = ("e1", "spiffe://example.org/web", '["unix:uid:1"]', "any", "", 3600, "[]", "", "main", 1, 0, 2, 5, 6)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()
    store = open_sqlite(path, now=NOW)
    (entry,) = store.reader().entries.all()
    store.close()
    assert (entry.id, str(entry.spiffe_id), entry.hint, entry.revision) == ("e1", "spiffe://example.org/web", "main", 2)
    assert not entry.revoke_when_lost


def test_members_of_an_older_program_say_which_token_they_came_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inborn_ca.store.sqlite import schema

    path, id_ = tmp_path / "inborn.db", parse_spiffe_id("spiffe://example.org/inborn/agent/1")
    before = [step.__name__ for step in schema.MIGRATIONS].index("_say_how_members_were_attested")
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:before])
    monkeypatch.setattr(schema, "VERSION", before)
    open_sqlite(path, now=NOW).close()
    with sqlite3.connect(path) as connection:
        row = (str(id_), "agent", 1, bytes.fromhex("5d41402abc4b2a76b9719d911017c592"), "web1", '["web"]', None, 7)
        connection.execute("INSERT INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        row = ("spiffe://example.org/inborn/agent/2", "agent", 1, b"", "", "[]", None, None)  # of an accepted finding
        connection.execute("INSERT INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()
    monkeypatch.undo()
    store = open_sqlite(path, now=NOW)
    first, second = store.reader().members.all()
    assert (first.spiffe_id, first.name, first.groups, first.selectors) == (id_, "web1", ("web",), ())
    assert (first.attested_by, first.attested_subject) == ("join_token", "5d41402abc4b2a76b9719d911017c592")
    assert first.stopped_at is not None
    assert (second.attested_by, second.attested_subject) == ("", "")
    store.close()


def test_a_database_that_exists_is_opened_without_sqlite_utils(path: Path) -> None:
    program = (
        "import datetime as dt, sys\nfrom pathlib import Path\n"
        "from inborn_ca.store.sqlite.sqlite_store import open_sqlite\n"
        f"open_sqlite(Path({str(path)!r}), now=dt.datetime.now(dt.UTC)).close()\n"
        "assert 'sqlite_utils' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )


# Backups.


def test_a_backup_is_made_while_a_transaction_runs_and_holds_what_was_committed(path: Path, tmp_path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    target = tmp_path / "backup"
    with store.transaction() as tx:
        tx.meta.set("later", "x")
        size = store.backup(target, keys=[(b"k" * 20, b"encrypted")])
    store.close()
    assert size == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup", "inborn.db"]
    assert read_backup_keys(target, remove=True) == [(b"k" * 20, b"encrypted")]
    restored = open_sqlite(target, now=NOW)
    assert restored.reader().meta.get("trust_domain") == "example.org"
    assert restored.reader().meta.get("later") is None
    restored.close()
    assert b"encrypted" not in target.read_bytes()


def test_a_backup_is_not_opened_as_a_database(path: Path, tmp_path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    store.backup(tmp_path / "backup")
    store.close()
    with pytest.raises(BackupNotRestored) as caught:
        open_sqlite(tmp_path / "backup", now=NOW)
    assert "restore" in caught.value.hint
    assert read_backup_keys(tmp_path / "backup", remove=False) == []
    with pytest.raises(BackupNotRestored):
        open_sqlite(tmp_path / "backup", now=NOW)


def test_a_backup_replaces_nothing(path: Path, tmp_path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    (tmp_path / "backup").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in (tmp_path / "backup", tmp_path / "link", path):
        with pytest.raises(AlreadyExistsError):
            store.backup(target)
    with pytest.raises(UnavailableError):
        store.backup(tmp_path / "nowhere" / "backup")
    store.close()
    assert (tmp_path / "backup").read_text() == "mine"


def test_what_is_no_backup_is_not_restored(path: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_backup_keys(tmp_path / "nowhere", remove=True)
    with pytest.raises(ForeignDatabase, match="not a backup"):
        read_backup_keys(path, remove=True)
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(PreconditionError):
        read_backup_keys(tmp_path / "text", remove=True)


def test_a_damaged_backup_is_not_restored(path: Path, tmp_path: Path) -> None:
    store = open_sqlite(path, now=NOW)
    store.backup(tmp_path / "backup")
    store.close()
    content = bytearray((tmp_path / "backup").read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    (tmp_path / "backup").write_bytes(content)
    with pytest.raises(DatabaseDamaged):
        read_backup_keys(tmp_path / "backup", remove=True)
