"""The public socket: what it replaces, what it leaves alone."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from inborn.errors import AlreadyExistsError, RequestError, UnavailableError
from inborn_agent.relay.public_socket import PublicSocket, SocketInUse


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_everybody_may_connect_and_nothing_is_left_behind(short_directory: Path) -> None:
    path = short_directory / "api.sock"
    public = PublicSocket(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert connects(path)
    assert os.listdir(short_directory) == ["api.sock"]
    public.close()
    assert os.listdir(short_directory) == []


def test_a_socket_left_behind_is_replaced(short_directory: Path) -> None:
    path = short_directory / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    public = PublicSocket(str(path))
    assert connects(path)
    public.close()


def test_a_socket_that_answers_is_left_alone(short_directory: Path) -> None:
    path = short_directory / "api.sock"
    first = PublicSocket(str(path))
    with pytest.raises(SocketInUse, match="another program serves"):
        PublicSocket(str(path))
    assert connects(path)
    first.close()


def test_a_socket_whose_queue_is_full_is_left_alone(short_directory: Path) -> None:
    path = short_directory / "api.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(SocketInUse):
            PublicSocket(str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(short_directory / "datagram"))
            with pytest.raises(SocketInUse):
                PublicSocket(str(short_directory / "datagram"))


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(short_directory: Path, kind: str) -> None:
    path = short_directory / "api.sock"
    {"file": path.touch, "directory": path.mkdir, "link": lambda: path.symlink_to("nowhere")}[kind]()
    with pytest.raises(AlreadyExistsError, match="is not a socket"):
        PublicSocket(str(path))
    assert os.path.lexists(path)


def test_a_path_too_long_for_the_kernel_is_refused_by_name(short_directory: Path) -> None:
    path = short_directory / ("x" * 107)
    with pytest.raises(RequestError, match="the kernel allows 107"):
        PublicSocket(str(path))


def test_a_missing_directory_is_an_error(short_directory: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        PublicSocket(str(short_directory / "none" / "api.sock"))


def test_closing_leaves_the_socket_of_a_successor(short_directory: Path) -> None:
    path = short_directory / "api.sock"
    first = PublicSocket(str(path))
    path.unlink()
    second = PublicSocket(str(path))
    first.close()
    assert connects(path)
    second.close()
