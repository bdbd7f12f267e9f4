"""Files that are written durably: whole or not there, with the mode that was meant, and through nobody's link."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn._internal.host.directory_lock import DirectoryInUse, DirectoryLock
from inborn._internal.host.files import (
    create_file,
    make_directory,
    new_file,
    private_directory,
    read_sealed,
    write_file,
    write_sealed,
)
from inborn.errors import AlreadyExistsError, RequestError, UnavailableError
from inborn_ca.authorities.key_store import KeyStore
from inborn_ca.supervisor.data_directory import DataDirectory
from inborn_cli.workload.identity_files import KEY_FILE, SVID_FILE, FileSet, SecretAccess


@pytest.fixture(params=[0, 0o777], ids=["umask 0", "umask 777"])
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Whoever starts us may have any; tmp_path is made before it holds."""
    before = os.umask(request.param)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def write_new(path: Path) -> None:
    with new_file(path) as partial:
        partial.write_bytes(b"content")


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_file(path, b"content"),
        lambda path: write_file(path, b"content", is_durable=False),
        lambda path: create_file(path, [b"con", b"tent"]),
        write_new,
    ],
)
def test_a_file_is_for_its_owner_alone_whatever_the_umask_is(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"content"
    assert mode(tmp_path / "x") == 0o600
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.usefixtures("umask")
def test_everything_that_stands_on_them_has_the_modes_that_were_meant(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path / "above" / "data", is_shared=False)
    directory.ports("127.0.0.1", {"api": 8443})
    directory.first_trust_domain()
    part = directory.part("ca", (os.geteuid(), os.getegid()))
    name, _ = KeyStore(part / "keys").create()
    FileSet(tmp_path / "tls", SecretAccess(mode=0o640, gid=os.getegid())).write({SVID_FILE: b"a", KEY_FILE: b"b"})
    FileSet(tmp_path / "own").write({KEY_FILE: b"b"})
    private_directory(tmp_path / "new" / "deep")
    assert mode(tmp_path / "above") & 0o700 == 0o700
    assert {path: oct(mode(tmp_path / path)) for path in MEANT} == {path: oct(bits) for path, bits in MEANT.items()}
    assert mode(part / "keys" / f"{name.hex()}.pem") == 0o600
    assert mode((tmp_path / "tls" / "..data").resolve()) == 0o711
    assert mode((tmp_path / "tls" / KEY_FILE).resolve()) == 0o640
    assert mode((tmp_path / "tls" / SVID_FILE).resolve()) == 0o644
    assert mode((tmp_path / "own" / "..data").resolve()) == 0o700
    assert mode((tmp_path / "own" / KEY_FILE).resolve()) == 0o600


MEANT = {
    "above/data": 0o711,
    "above/data/lock": 0o600,
    "above/data/ports.json": 0o600,
    "above/data/trust-domain": 0o600,
    "above/data/ca": 0o700,
    "above/data/ca/keys": 0o700,
    "tls": 0o711,
    "own": 0o700,
    "new/deep": 0o700,
}


@pytest.mark.parametrize("place", ["x", ".x.new"])
def test_link_where_a_file_is_written_leads_nowhere(tmp_path: Path, place: str) -> None:
    """A link to a file of ours, in the place of the file or of the one that is written first."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / place).symlink_to(tmp_path / "precious")
    write_file(tmp_path / "d" / "x", b"content")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "d" / "x").is_symlink()
    assert (tmp_path / "d" / "x").read_bytes() == b"content"
    assert os.listdir(tmp_path / "d") == ["x"]


def test_second_name_where_a_file_is_written_first_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    os.link(tmp_path / "precious", tmp_path / ".x.new")
    write_file(tmp_path / "x", b"content")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_pipe_or_socket_in_the_way_does_not_make_a_writer_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".x.new")
    write_file(tmp_path / "x", b"content")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / ".x.new"))
        write_file(tmp_path / "x", b"content")
    assert stat.S_ISREG((tmp_path / "x").lstat().st_mode)


def test_who_has_the_leftover_open_sees_nothing_of_what_is_written(tmp_path: Path) -> None:
    with open(tmp_path / ".x.new", "w+b") as held:
        write_sealed(tmp_path / "x", b"secret")
        assert held.read() == b""
    assert read_sealed(tmp_path / "x") == b"secret"


def test_file_that_is_there_is_never_opened_by_create(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"old")
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            create_file(tmp_path / name, b"new")
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "file").read_bytes() == b"old"


def test_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "x", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="no space left"):
        write_file(tmp_path / "x", b"new")
    with pytest.raises(UnavailableError, match="no space left"):
        write_new(tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_both_file_and_directory_are_synced_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_file(tmp_path / "x", b"content")
    write_new(tmp_path / "y")
    # SQLite has closed the file by then: it is synced again by whoever places it.
    assert synced == [".x.new", tmp_path.name, "y.partial", "y.partial", tmp_path.name]


@pytest.mark.parametrize("there", ["file", "link", "directory"])
def test_new_file_replaces_nothing(tmp_path: Path, there: str) -> None:
    if there == "file":
        (tmp_path / "x").write_bytes(b"old")
    elif there == "link":
        (tmp_path / "x").symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / "x").mkdir()
    with pytest.raises(AlreadyExistsError), new_file(tmp_path / "x"):
        raise AssertionError("there is nothing to write")
    assert os.listdir(tmp_path) == ["x"]


def test_new_file_does_not_replace_what_came_meanwhile(tmp_path: Path) -> None:
    def race() -> None:
        with new_file(tmp_path / "x") as partial:
            partial.write_bytes(b"ours")
            (tmp_path / "x").write_bytes(b"theirs")

    with pytest.raises(AlreadyExistsError):
        race()
    assert (tmp_path / "x").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["x"]


def test_new_file_that_fails_leaves_nothing_and_begins_without_what_a_crash_left(tmp_path: Path) -> None:
    (tmp_path / "x.partial").write_bytes(b"half")
    (tmp_path / "x.partial-wal").write_bytes(b"another file's log")

    def fail() -> None:
        with new_file(tmp_path / "x", leftovers=["-wal"]) as partial:
            assert partial.read_bytes() == b""
            assert os.listdir(tmp_path) == ["x.partial"]
            (tmp_path / "x.partial-wal").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir(tmp_path) == []


def test_directory_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o750)
    assert not make_directory(tmp_path / "a", mode=0o700)
    assert mode(tmp_path / "a") == 0o750
    assert make_directory(tmp_path / "b", mode=0o711)
    assert mode(tmp_path / "b") == 0o711


def test_lock_that_is_a_link_is_refused_and_empties_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RequestError, match="lock is a link"):
        DirectoryLock(tmp_path / "d")
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("said", [b"", b"nobody\n", b"\xff\xff", b"-1\n", b"9" * 32, b"999999999\n"])
def test_lock_whose_holder_is_not_to_be_told_is_refused_all_the_same(tmp_path: Path, said: bytes) -> None:
    held = DirectoryLock(tmp_path)
    os.ftruncate(held.descriptor, 0)
    os.pwrite(held.descriptor, said, 0)
    with pytest.raises(DirectoryInUse, match="is in use by process unknown"):
        DirectoryLock(tmp_path)
    held.release()
    DirectoryLock(tmp_path).release()
