"""Posture of real processes: what they have locked themselves into, as the kernel tells it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inborn._internal.selectors.kinds.posture import LISTED, NAMESPACES
from inborn._internal.selectors.weakness import why_never_attested
from inborn_agent.attest import EngineClient, Host
from tests.inborn_agent.attest.posture.fixtures_sandbox import NOBODY, LockedIn, evidence_of, posture_of

ROOT = Path(__file__).resolve().parents[4]


def test_a_process_that_did_nothing_is_not_locked_in(locked_in: LockedIn) -> None:
    found = posture_of(locked_in(""))
    assert {"userns:host", *(f"ns_{name}:host" for name in NAMESPACES)} <= found
    own = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert f"seccomp:{['off', 'strict', 'filter'][int(own['Seccomp'])]}" in found
    assert f"no_new_privs:{'true' if own['NoNewPrivs'].strip() == '1' else 'false'}" in found


def test_everything_that_is_said_is_in_the_vocabulary(locked_in: LockedIn) -> None:
    evidence = evidence_of(locked_in("no_new_privs(); seccomp_filter()"))
    assert evidence.hints == ()
    assert all(why_never_attested(selector) is None for selector in evidence.selectors)
    kinds = {selector.value.partition(":")[0] for selector in evidence.selectors}
    assert kinds >= {"seccomp", "no_new_privs", "userns", "rootfs", "lsm", "runtime_socket", "ns_mnt", "ns_cgroup"}


def test_a_filter_and_no_new_privs_are_seen(locked_in: LockedIn) -> None:
    assert {"seccomp:filter", "no_new_privs:true"} <= posture_of(locked_in("no_new_privs(); seccomp_filter()"))


@pytest.mark.root
def test_capabilities_of_another_user_are_none_and_may_come_back_by_exec(locked_in: LockedIn) -> None:
    found = posture_of(locked_in(f"become({NOBODY})"))
    assert {"cap_eff:none", *(f"cap_eff_lacks:{name}" for name in LISTED)} <= found
    assert "cap_bnd:none" not in found
    assert "cap_bnd_lacks:CAP_SETUID" not in found


@pytest.mark.root
def test_capabilities_that_cannot_come_back_are_lacking_in_the_bounding_set(locked_in: LockedIn) -> None:
    found = posture_of(locked_in("drop_bounding(); capset(0)"))
    assert {"cap_eff:none", "cap_bnd:none", "cap_bnd_lacks:CAP_SYS_ADMIN", "cap_bnd_lacks:CAP_NET_RAW"} <= found


@pytest.mark.root
def test_capabilities_are_held_or_lacking_one_by_one(locked_in: LockedIn) -> None:
    found = posture_of(locked_in("capset(1 << 12 | 1 << 5)"))  # NET_ADMIN, and KILL, which is not listed
    assert "cap_eff:CAP_NET_ADMIN" in found
    assert {one for one in found if one.startswith("cap_eff_lacks:")} == {
        f"cap_eff_lacks:{name}" for name in LISTED - {"CAP_NET_ADMIN"}
    }
    assert not {"cap_eff:none", "cap_eff:CAP_KILL"} & found


@pytest.mark.root
def test_a_capability_that_has_no_selector_is_not_nothing(locked_in: LockedIn) -> None:
    assert "cap_eff:none" not in posture_of(locked_in("capset(1 << 5)"))


@pytest.mark.root
@pytest.mark.parametrize("name", [name for name in NAMESPACES if name != "pid"])
def test_a_namespace_of_its_own_is_private_and_the_others_stay_the_hosts(locked_in: LockedIn, name: str) -> None:
    flag = {"mnt": "NS"}.get(name, name.upper())
    found = posture_of(locked_in(f"unshare(NEW{flag})"))
    assert {one for one in found if one.startswith("ns_")} == {
        f"ns_{other}:{'private' if other == name else 'host'}" for other in NAMESPACES
    }


@pytest.mark.root
def test_a_pid_namespace_of_its_own_is_private(locked_in: LockedIn) -> None:
    parent = locked_in("unshare(NEWPID)\nif os.fork() == 0:\n    signal.pause()")
    (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    process = subprocess.Popen(["true"])  # stands for the child, whose number alone is known
    process.wait()
    process.pid = int(child)
    assert "ns_pid:private" in posture_of(process)


class TestUserNamespace:
    MAPPED = """
unshare(NEWUSER)
with open("/proc/self/setgroups", "w") as file:
    file.write("deny")
for name in ("uid", "gid"):
    with open(f"/proc/self/{name}_map", "w") as file:
        file.write(f"0 {outside} 1")
"""

    @pytest.mark.root
    def test_a_user_who_is_root_inside_alone_is_mapped(self, locked_in: LockedIn) -> None:
        found = posture_of(locked_in(f"become({NOBODY}); outside = {NOBODY}\n{self.MAPPED}"))
        assert "userns:mapped" in found
        # All of them count in there, and nowhere else.
        assert {f"cap_eff:{name}" for name in LISTED} <= found

    @pytest.mark.root
    def test_the_hosts_root_in_a_namespace_is_nested(self, locked_in: LockedIn) -> None:
        assert "userns:nested" in posture_of(locked_in(f"outside = 0\n{self.MAPPED}"))

    @pytest.mark.root
    def test_the_hosts_root_in_a_namespace_that_has_no_map_is_nested(self, locked_in: LockedIn) -> None:
        assert "userns:nested" in posture_of(locked_in("unshare(NEWUSER)"))

    @pytest.mark.root
    def test_the_hosts_root_in_a_namespace_that_maps_him_not_is_nested_until_he_changes(
        self, locked_in: LockedIn
    ) -> None:
        mapped_by_its_parent = """
r, w = os.pipe()
ready, made = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    os.read(ready, 1)
    for name in ("uid", "gid"):
        with open(f"/proc/{parent}/{name}_map", "w") as file:
            file.write("0 100000 65536")
    os.write(w, b"x")
    os._exit(0)
unshare(NEWUSER)
os.write(made, b"x")
os.read(r, 1)
"""
        assert "userns:nested" in posture_of(locked_in(mapped_by_its_parent))
        changed = "os.setgroups([]); os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)"
        assert "userns:mapped" in posture_of(locked_in(mapped_by_its_parent + changed))
        # One of its groups is still the host's root's.
        changed = "os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)"
        assert "userns:nested" in posture_of(locked_in("os.setgroups([0])\n" + mapped_by_its_parent + changed))


@pytest.mark.root
def test_a_root_that_is_mounted_read_only_is_ro(locked_in: LockedIn) -> None:
    assert "rootfs:rw" in posture_of(locked_in(""))
    code = "unshare(NEWNS); mount(None, '/', PRIVATE); mount(None, '/', REMOUNT_BIND_READ_ONLY)"
    assert "rootfs:ro" in posture_of(locked_in(code))


@pytest.mark.root
class TestEngineSocket:
    @pytest.fixture
    def engine_socket(self, short_directory: Path) -> Path:
        path = short_directory / "engine"
        socket.socket(socket.AF_UNIX).bind(str(path))
        return path

    @pytest.fixture
    def host(self, engine_socket: Path) -> Host:
        return Host(engines=[EngineClient(str(engine_socket))])

    def test_on_the_host_it_is_visible(self, locked_in: LockedIn, host: Host) -> None:
        assert "runtime_socket:visible" in posture_of(locked_in(""), host)

    def test_in_mounts_of_its_own_it_still_is(self, locked_in: LockedIn, host: Host) -> None:
        assert "runtime_socket:visible" in posture_of(locked_in("unshare(NEWNS)"), host)

    def test_where_it_is_covered_it_is_not(self, locked_in: LockedIn, host: Host, engine_socket: Path) -> None:
        code = "unshare(NEWNS); mount(None, '/', PRIVATE); mount('/dev/null', sys.argv[1], BIND)"
        assert "runtime_socket:none" in posture_of(locked_in(code, str(engine_socket)), host)

    def test_under_another_name_beside_the_covered_one_it_is(
        self, locked_in: LockedIn, host: Host, engine_socket: Path
    ) -> None:
        other = engine_socket.with_name("harmless")
        other.touch()
        code = (
            f"unshare(NEWNS); mount(None, '/', PRIVATE); mount(sys.argv[1], {str(other)!r}, BIND); "
            "mount('/dev/null', sys.argv[1], BIND)"
        )
        assert "runtime_socket:visible" in posture_of(locked_in(code, str(engine_socket)), host)


LOOKS_AS_NOBODY = f"""
import ctypes, os, sys
from inborn._internal.process.pinning import pin_pid
from inborn_agent.attest import Host
from inborn_agent.attest.posture.attestor import attest_posture
with pin_pid(os.getpid()) as process:
    attest_posture(process, Host())  # whatever is loaded later is loaded now: nobody may not enter every directory
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # its own /proc is its own again
with pin_pid(int(sys.argv[1])) as process:
    evidence = attest_posture(process, Host())
print(*sorted(map(str, evidence.selectors)), *evidence.hints, sep="\\n")
"""


@pytest.mark.root
def test_what_an_agent_may_not_read_is_left_out_with_a_hint(locked_in: LockedIn) -> None:
    process = locked_in("")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))}
    command = [sys.executable, "-c", LOOKS_AS_NOBODY, str(process.pid)]
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert "posture:cap_eff:CAP_SYS_ADMIN" in said
    assert not [line for line in said if line.startswith(("posture:ns_pid:", "posture:userns:", "posture:rootfs:"))]
    (hint,) = [line for line in said if line.endswith("left out: Permission denied")]
    assert {"ns_pid", "ns_cgroup", "rootfs", "userns"} <= set(hint.partition(" left out")[0][8:].split(", "))
