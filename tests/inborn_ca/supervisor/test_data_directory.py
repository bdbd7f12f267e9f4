"""The data directory: one holder, the same ports and the same name at each start."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.host.directory_lock import DirectoryInUse
from inborn.errors import DeniedError, PreconditionError, RequestError
from inborn_ca.store.place import database_file
from inborn_ca.supervisor.data_directory import PORT_RANGE, DataDirectory

ME = (os.geteuid(), os.getegid())
WANTED = {"bootstrap": 0, "api": 0}


def open_here(path: Path) -> DataDirectory:
    return DataDirectory.open(path, is_shared=False)


def test_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    held = open_here(tmp_path / "data")
    with pytest.raises(DirectoryInUse, match=f"is in use by process {os.getpid()}"):
        open_here(tmp_path / "data")
    os.close(held.lock_fd)
    os.close(open_here(tmp_path / "data").lock_fd)


def test_what_a_killed_holder_leaves_is_waited_for(tmp_path: Path) -> None:
    """Its processes hold the lock as well, and are gone a moment after it."""
    path = tmp_path / "data"
    held = open_here(path)
    os.pwrite(held.lock_fd, b"999999999\n", 0)  # no process has this number
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
        pass_fds=[held.lock_fd],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    os.close(held.lock_fd)
    subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -9 {child.pid}"])
    os.close(open_here(path).lock_fd)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_ports_are_free_ones_and_the_same_again(tmp_path: Path) -> None:
    directory = open_here(tmp_path)
    ports = directory.ports("127.0.0.1", WANTED)
    assert len(set(ports.values())) == 2
    assert all(port in PORT_RANGE for port in ports.values())
    assert directory.ports("127.0.0.1", WANTED) == ports


def test_port_that_is_asked_for_wins_and_is_kept(tmp_path: Path) -> None:
    directory = open_here(tmp_path)
    first = directory.ports("127.0.0.1", WANTED)
    assert directory.ports("127.0.0.1", {"bootstrap": 8443, "api": 0}) == {"bootstrap": 8443, "api": first["api"]}
    assert directory.ports("127.0.0.1", WANTED)["bootstrap"] == 8443


def test_ports_of_one_set_do_not_drop_those_of_another(tmp_path: Path) -> None:
    directory = open_here(tmp_path)
    metrics = directory.ports("127.0.0.1", {"metrics": 0})
    directory.ports("127.0.0.1", WANTED)
    assert directory.ports("127.0.0.1", {"metrics": 0}) == metrics


@pytest.mark.parametrize("text", ["", "{", "[]", '{"api": "80"}', '{"api": 0}', '{"api": 70000}', '{"api": true}'])
def test_ports_file_that_somebody_has_spoilt_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)
    with pytest.raises(PreconditionError, match=r"ports\.json"):
        open_here(tmp_path).ports("127.0.0.1", WANTED)


def test_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot listen on 192\.0\.2\.1"):
        open_here(tmp_path).ports("192.0.2.1", WANTED)


def test_taken_port_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr("inborn_ca.supervisor.data_directory.PORT_RANGE", range(port, port + 1))
        with pytest.raises(PreconditionError, match="no free port"):
            open_here(tmp_path).ports("127.0.0.1", {"api": 0})


def test_made_up_trust_domain_is_kept_until_the_ca_has_it(tmp_path: Path) -> None:
    directory = open_here(tmp_path)
    name = directory.first_trust_domain()
    assert directory.first_trust_domain() == name
    (tmp_path / "ca").mkdir()
    database_file(tmp_path / "ca").touch()
    assert directory.first_trust_domain() == name  # the first start did not come far enough to write it down
    directory.trust_domain_is_kept()
    assert directory.first_trust_domain() == ""


def test_others_may_pass_through_and_see_nothing(tmp_path: Path) -> None:
    directory = open_here(tmp_path / "data")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o711
    assert stat.S_IMODE(directory.part("ca", ME).stat().st_mode) == 0o700
    assert stat.S_IMODE((directory.path / "lock").stat().st_mode) == 0o600


def test_directory_that_was_closed_before_stays_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    assert stat.S_IMODE(open_here(tmp_path / "data").path.stat().st_mode) == 0o700


def test_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises((RequestError, DeniedError), match="data"):
        open_here(tmp_path / "data")


@pytest.mark.root
def test_part_of_another_user_is_his_with_all_that_is_in_it(tmp_path: Path) -> None:
    directory = open_here(tmp_path / "data")
    (directory.part("ca", ME) / "keys").mkdir()
    (directory.path / "ca" / "keys" / "a").touch()
    directory.part("ca", (65534, 65534))
    assert {p.stat().st_uid for p in (directory.path / "ca").rglob("*")} == {65534}
    directory.part("ca", ME)
    assert {p.stat().st_uid for p in (directory.path / "ca").rglob("*")} == {0}


@pytest.mark.root
def test_second_name_of_a_file_elsewhere_is_not_given_away(tmp_path: Path) -> None:
    directory = open_here(tmp_path / "data")
    (tmp_path / "of root").touch()
    os.link(tmp_path / "of root", directory.part("ca", ME) / "x")
    (directory.path / "ca" / "y").symlink_to(tmp_path / "of root")
    directory.part("ca", (65534, 65534))
    assert (tmp_path / "of root").stat().st_uid == 0


@pytest.mark.root
def test_directory_of_another_user_is_refused_and_nothing_is_written_through_his_links(tmp_path: Path) -> None:
    """He could have put a link to a file of ours where the lock is made, and it would be emptied."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RequestError, match="lock is a link"):
        open_here(tmp_path / "data")
    os.chown(tmp_path / "data", 65534, 65534)
    with pytest.raises(RequestError, match="belongs to uid 65534, who could replace what is in it"):
        open_here(tmp_path / "data")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770, 0o2775, 0o702])
def test_directory_in_which_others_could_plant_a_part_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever can write in it makes the CA's directory before the CA does, with keys of his own in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    with pytest.raises(RequestError, match=rf"can be written to by others \(mode {mode:04o}\)"):
        open_here(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.root
def test_link_in_the_place_of_a_directory_gives_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ran the part until now swaps a directory for a link between the look into it and the change of owner."""
    elsewhere = tmp_path / "etc"
    elsewhere.mkdir()
    (elsewhere / "shadow").touch()
    directory = open_here(tmp_path / "data")
    keys = directory.part("ca", ME) / "keys"
    keys.mkdir()
    (keys / "shadow").touch()

    def swapped(scan: Callable[..., Any]) -> Callable[..., Any]:
        def scan_and_swap(top: Any = ".", *rest: Any) -> Any:
            found = scan(top, *rest)
            is_keys = os.fstat(top).st_ino == keys.stat().st_ino if isinstance(top, int) else Path(top) == keys
            if is_keys and not keys.is_symlink():
                keys.rename(tmp_path / "aside")
                keys.symlink_to(elsewhere)
            return found

        return scan_and_swap

    monkeypatch.setattr(os, "scandir", swapped(os.scandir))
    directory.part("ca", (65534, 65534))
    assert keys.is_symlink()
    assert (elsewhere / "shadow").stat().st_uid == 0
