"""Who is on the other end of a UNIX socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inborn._internal.process.peer_credentials import is_admin_uid, is_same_process, peer_credentials

CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"


def test_own_other_end_is_this_process() -> None:
    left, right = socket.socketpair()
    with left, right:
        peer = peer_credentials(left)
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
        assert is_same_process(left)


def test_another_process_of_this_user_is_not_this_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        child = subprocess.Popen([sys.executable, "-c", CONNECT, str(tmp_path / "s")])
        accepted, _ = listener.accept()
    with accepted:
        assert peer_credentials(accepted).pid == child.pid
        assert not is_same_process(accepted)
    child.wait()


@pytest.mark.root
def test_numbers_of_users_beyond_two_thousand_million_are_not_negative() -> None:
    """A user namespace's users are mapped up there; read as signed, one of them would be no number at all."""
    os.seteuid(3_000_000_000)
    try:
        left, right = socket.socketpair()
    finally:
        os.seteuid(0)
    with left, right:
        assert peer_credentials(left).uid == 3_000_000_000
        assert not is_admin_uid(peer_credentials(left).uid)
        assert not is_same_process(left)


def test_a_socket_without_a_peer_is_an_error() -> None:
    with socket.socket(socket.AF_INET) as sock:
        try:
            peer = peer_credentials(sock)
        except OSError:
            return
    assert peer.pid == 0  # the kernel's word for nobody
    assert not is_admin_uid(peer.uid)
