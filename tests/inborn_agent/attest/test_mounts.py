"""What a mount namespace shows of the host: engine sockets, however they were mounted."""

from __future__ import annotations

import pytest

from inborn_agent.attest.mounts import Location, is_visible, locate, parse_mounts, shows_engine_socket

HOST = b"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755
31 30 0:40 / /run/lock rw - tmpfs tmpfs rw
"""
CONTAINER = b"""500 400 0:55 / / rw,relatime - overlay overlay rw,lowerdir=/a
501 500 0:60 / /proc rw - proc proc rw
502 500 0:61 / /dev rw - tmpfs tmpfs rw
503 500 254:0 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 /dev/vda rw
"""
SOCKET = Location(device=b"0:25", path=b"/docker.sock")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/run/docker.sock", SOCKET),
        (b"/run/lock/docker.sock", Location(device=b"0:40", path=b"/docker.sock")),
        (b"/srv/docker.sock", Location(device=b"254:0", path=b"/srv/docker.sock")),
        (b"/runway", Location(device=b"254:0", path=b"/runway")),
        (b"/run", Location(device=b"0:25", path=b"/")),
    ],
)
def test_a_file_is_located_on_the_innermost_mount(path: bytes, expected: Location) -> None:
    assert locate(parse_mounts(HOST), path) == expected


def test_of_two_mounts_at_one_place_the_later_one_counts() -> None:
    assert locate(parse_mounts(HOST + b"33 30 0:77 /x /run rw - tmpfs tmpfs rw\n"), b"/run/a") == Location(
        device=b"0:77", path=b"/x/a"
    )


def test_without_a_root_nothing_is_located() -> None:
    assert locate([], b"/run/docker.sock") is None


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (b"", False),
        (b"510 500 0:25 /docker.sock /any/name rw - tmpfs tmpfs rw", True),
        (b"510 500 0:25 / /host/run rw - tmpfs tmpfs rw", True),
        (b"510 500 0:25 /docker /run/docker rw - tmpfs tmpfs rw", False),
        (b"510 500 0:25 /docker.sock.d /x rw - tmpfs tmpfs rw", False),
        (b"510 500 0:26 / /host/run rw - tmpfs tmpfs rw", False),
        # The directory with something over the socket, or over all of it.
        (
            b"510 500 0:25 / /host/run rw - tmpfs tmpfs rw\n"
            b"511 510 0:25 /systemd/inaccessible/sock /host/run/docker.sock rw - tmpfs tmpfs rw",
            False,
        ),
        (
            b"510 500 0:25 / /host/run rw - tmpfs tmpfs rw\n511 510 0:90 / /host/run rw - tmpfs tmpfs rw",
            False,
        ),
        (
            b"510 500 0:25 / /host/run rw - tmpfs tmpfs rw\n511 510 0:90 / /host/run/x rw - tmpfs tmpfs rw",
            True,
        ),
        # Covered on one mount, and shown by another.
        (
            b"510 500 0:25 / /run rw - tmpfs tmpfs rw\n511 510 0:90 / /run/docker.sock rw - tmpfs tmpfs rw\n"
            b"512 510 0:25 / /run rw - tmpfs tmpfs rw",
            True,
        ),
        (b"510 500 0:25 /docker.sock /any\\040name rw - tmpfs tmpfs rw", True),
    ],
)
def test_a_socket_of_the_host_is_visible_wherever_it_is_mounted(extra: bytes, expected: bool) -> None:
    assert is_visible(parse_mounts(CONTAINER + extra + b"\n"), SOCKET) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1 0 0:25 /docker.sock /tmp/x rw - tmpfs tmpfs rw", True),
        (b"1 0 0:25 /user/1000/podman/podman.sock /x rw - tmpfs tmpfs rw", True),
        (b"1 0 0:25 /my.sock /var/run/docker.sock rw - tmpfs tmpfs rw", True),
        (b"1 0 0:25 /containerd/containerd.sock /run/c rw - tmpfs tmpfs rw", True),
        (b"1 0 0:25 /systemd/inaccessible/sock /run/docker.sock rw - tmpfs tmpfs rw", False),
        (b"1 0 0:5 /null /run/docker.sock rw - devtmpfs udev rw", False),
        (b"1 0 0:25 /postgresql/.s.PGSQL.5432 /run/pg rw - tmpfs tmpfs rw", False),
        (b"1 0 0:25 / /run rw - tmpfs tmpfs rw", False),
    ],
)
def test_a_socket_is_known_by_the_names_of_engines(line: bytes, expected: bool) -> None:
    assert shows_engine_socket(parse_mounts(line)) is expected


def test_lines_that_are_none_are_left_out() -> None:
    assert parse_mounts(b"\n1 2 3\n") == []
