"""Who is on the other end of a UNIX socket, by the kernel's word: the one reading of `SO_PEERCRED` (unix(7)).

Used by everything that asks: attestation, the signer's socket for admins, the library's tunnel, and the client of a
container engine.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

__all__ = ["PeerCredentials", "is_admin_uid", "is_same_process", "peer_credentials"]

_SO_PEERCRED = 17  # asm-generic/socket.h; Python names it on Linux alone
_UCRED = struct.Struct("iII")  # struct ucred: numbers of users and groups are unsigned

_SOL_LOCAL, _LOCAL_PEERPID = 0, 2  # <sys/un.h> of macOS


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCredentials:
    """Of the process that called connect() (for a client: listen()), as they were at that moment."""

    pid: int
    """As this process's PID namespace counts; 0: it lies outside. No proof that its process still lives."""
    uid: int
    gid: int


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Ask the kernel. Raises `OSError` for a socket that has no peer, and everywhere but on Linux."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _UCRED.size))
    return PeerCredentials(pid=pid, uid=uid, gid=gid)


def is_same_process(sock: socket.socket) -> bool:
    """Whether the other end is this very process. Raises `OSError`."""
    if hasattr(socket, "SO_PEERCRED"):
        peer = peer_credentials(sock)
        return peer.pid == os.getpid() and peer.uid == os.geteuid()
    return sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID) == os.getpid()


def is_admin_uid(uid: int) -> bool:
    """Whether a caller on this machine may administer what this process serves: root, and the user it runs as.

    Not checked: that the caller lives in this process's namespaces, without which its root may be a container's.
    """
    return uid in (0, os.geteuid())
