"""Pinning real processes, with what this kernel offers and with what older ones do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import (
    FactUnreadable,
    PinMode,
    ProcessGone,
    peer_ids,
    pin_peer,
    pin_pid,
    require_started_by,
    supported_pin_mode,
)
from inborn.errors import DeniedError, NotFoundError
from inborn_agent.attest.liveness import wait_exit
from tests.inborn_agent.relay.fixtures_relay import caller, open_descriptors, tell

STAYS = "s = connect(); say(str(os.getpid())); wait_for_line()"


@pytest.fixture
def listener(short_directory: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_directory / "s"))
        (short_directory / "s").chmod(0o666)
        listener.listen()
        listener.settimeout(30)
        yield listener


def connected(listener: socket.socket, callers: list[subprocess.Popen[str]], code: str = STAYS) -> socket.socket:
    callers.append(caller(code, listener.getsockname()))
    return listener.accept()[0]


def test_the_process_that_connected_is_pinned(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    before = open_descriptors()
    with connected(listener, callers) as connection, pin_peer(connection, mode=pin_mode) as process:
        assert process.pid == process.peer_pid == callers[0].pid
        assert (process.uid, process.gid) == (os.geteuid(), os.getegid()) == peer_ids(connection)
        assert process.mode is pin_mode
        assert process.is_alive()
        assert b"\nPPid:\t%d\n" % os.getpid() in process.read("status")
        assert process.readlink("cwd") == "/"
        assert process.stat("exe").st_ino == os.stat(f"/proc/{callers[0].pid}/exe").st_ino
        callers[0].kill()
        callers[0].wait()
        assert not process.is_alive()
        for read in (process.read, process.readlink, process.stat):
            with pytest.raises(ProcessGone):
                read("exe")
    assert len(open_descriptors() - before) == 2  # the pipes of the caller


def test_a_zombie_is_not_alive(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    with connected(listener, callers) as connection, pin_peer(connection, mode=pin_mode) as process:
        callers[0].kill()
        os.waitid(os.P_PID, callers[0].pid, os.WEXITED | os.WNOWAIT)
        assert not process.is_alive()


def test_a_caller_that_ended_before_it_was_pinned_is_refused(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    before = open_descriptors()
    with connected(listener, callers) as connection:
        callers[0].kill()
        callers[0].wait()
        with pytest.raises(ProcessGone):
            pin_peer(connection, mode=pin_mode)
    assert len(open_descriptors() - before) == 2


def test_a_socket_that_nobody_connected_has_no_peer(pin_mode: PinMode) -> None:
    with socket.socket(socket.AF_UNIX) as alone, pytest.raises(DeniedError):
        pin_peer(alone, mode=pin_mode)


def test_a_process_that_started_after_the_connection_is_refused_on_an_older_kernel(
    listener: socket.socket, callers: list[subprocess.Popen[str]]
) -> None:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # start times are rounded down to it
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - tick
    with (
        connected(listener, callers) as connection,
        pin_peer(connection, mode=PinMode.PIDFD_OPEN) as process,
        pytest.raises(ProcessGone, match="started after the connection was accepted"),
    ):
        require_started_by(process, before)


def test_a_file_longer_than_its_limit_is_not_cut(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    with connected(listener, callers) as connection, pin_peer(connection, mode=pin_mode) as process:
        whole = process.read("cmdline")
        assert process.read("cmdline", len(whole)) == whole
        with pytest.raises(FactUnreadable, match="longer than 9 bytes"):
            process.read("cmdline", 9)


def test_a_missing_file_of_a_living_process_is_not_its_end(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    with connected(listener, callers) as connection, pin_peer(connection, mode=pin_mode) as process:
        with pytest.raises(FactUnreadable, match="No such file"):
            process.read("no_such_file")


def test_a_closed_process_gives_nothing_and_may_be_closed_again(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    with connected(listener, callers) as connection:
        process = pin_peer(connection, mode=pin_mode)
        process.close()
        process.close()
        assert not process.is_alive()
        with pytest.raises(ProcessGone, match="no longer pinned"):
            process.read("status")


def test_closing_while_threads_read_never_reads_another_process(
    listener: socket.socket, callers: list[subprocess.Popen[str]], pin_mode: PinMode
) -> None:
    with connected(listener, callers) as connection:
        process = pin_peer(connection, mode=pin_mode)
        expected = process.read("cmdline")
        wrong: list[bytes] = []
        began = threading.Barrier(5)

        def read() -> None:
            began.wait()
            try:
                while (got := process.read("cmdline")) == expected:
                    pass
                wrong.append(got)
            except ProcessGone:
                pass

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        began.wait()
        for _ in range(200):
            process.is_alive()
        process.close()
        others = [os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY) for _ in range(8)]
        for thread in threads:
            thread.join()
        for descriptor in others:
            os.close(descriptor)
        assert wrong == []


def test_a_process_is_pinned_by_its_number(callers: list[subprocess.Popen[str]]) -> None:
    callers.append(caller("wait_for_line()", "-"))
    with pin_pid(callers[0].pid) as process:
        assert (process.pid, process.uid, process.gid) == (callers[0].pid, os.geteuid(), os.getegid())
        assert process.is_alive()
        tell(callers[0])
        callers[0].wait()
        assert not process.is_alive()


@pytest.mark.parametrize("number", [-1, 0, 2**22 + 1, 2**31 - 1, 2**40])
def test_a_number_without_a_process_is_not_found(number: int) -> None:
    with pytest.raises(NotFoundError, match=f"there is no process {number}"):
        pin_pid(number)


async def test_the_end_of_a_process_is_told_to_everyone_who_waits(callers: list[subprocess.Popen[str]]) -> None:
    callers.append(caller("wait_for_line()", "-"))
    before = open_descriptors()
    with pin_pid(callers[0].pid) as process:
        waits = [asyncio.create_task(wait_exit(process)) for _ in range(3)]
        done, _ = await asyncio.wait(waits, timeout=0.05)
        assert not done
        tell(callers[0])
        await asyncio.wait_for(asyncio.gather(*waits), 30)
        await wait_exit(process)
    await wait_exit(process)
    assert not open_descriptors() - before


def test_this_kernel_says_what_it_offers() -> None:
    assert supported_pin_mode() in PinMode


def test_other_systems_can_import_it_and_are_told_at_use() -> None:
    program = """
import os, select, socket, sys
sys.platform = "darwin"
for module, name in ((os, "pidfd_open"), (socket, "SO_PEERCRED"), (socket, "SO_PASSCRED"), (select, "epoll")):
    delattr(module, name)
import inborn._internal.process.pinning, inborn._internal.selectors.selector
try:
    inborn._internal.process.pinning.pin_pid(1)
except inborn._internal.process.pinning.PeerUnsupported as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_path())
    assert done.stdout == "processes are attested on Linux only, this is darwin\n"


def _path() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
