"""Attempts to look locked in while one part of the process is not."""

from __future__ import annotations

import pytest

from tests.inborn_agent.attest.posture.fixtures_sandbox import NOBODY, LockedIn, evidence_of, posture_of


@pytest.mark.root
def test_a_first_thread_that_gave_up_what_another_one_keeps(locked_in: LockedIn) -> None:
    """Capabilities, seccomp and no_new_privs belong to threads. The first one is what /proc/<pid>/status shows."""
    found = posture_of(locked_in("thread(lambda: None); no_new_privs(); seccomp_filter(); capset(0)"))
    assert {"seccomp:off", "no_new_privs:false", "cap_eff:CAP_SYS_ADMIN"} <= found
    assert not {"cap_eff:none", "cap_eff_lacks:CAP_SYS_ADMIN"} & found
    # The other way round, and all of them.
    assert "seccomp:off" in posture_of(locked_in("thread(lambda: (no_new_privs(), seccomp_filter(), capset(0)))"))
    found = posture_of(locked_in("no_new_privs(); seccomp_filter(); capset(0); thread(lambda: None)"))
    assert {"seccomp:filter", "no_new_privs:true", "cap_eff:none"} <= found


@pytest.mark.root
def test_a_capability_kept_for_later(locked_in: LockedIn) -> None:
    """Not effective, but permitted: one system call makes it effective again."""
    found = posture_of(locked_in(f"become({NOBODY}, keep=True)"))
    assert "cap_eff:CAP_SYS_ADMIN" in found
    assert not {"cap_eff:none", "cap_eff_lacks:CAP_SYS_ADMIN"} & found


@pytest.mark.root
def test_threads_that_hand_a_capability_on_faster_than_it_can_be_looked_at(locked_in: LockedIn) -> None:
    """Each thread makes the next one, gives up its own and ends: whichever is read may have nothing by then."""
    code = """
import time
sys.setswitchinterval(1e-5)
threading.stack_size(1 << 16)
def runner():
    threading.Thread(target=runner, daemon=True).start()
    capset(0)
    time.sleep(0.001)
threading.Thread(target=runner, daemon=True).start()
capset(0)
"""
    process = locked_in(code)
    for _ in range(100):  # read carelessly, every sixth of them would say: no capabilities
        evidence = evidence_of(process)
        found = {selector.value for selector in evidence.selectors}
        assert not {"cap_eff:none", "cap_eff_lacks:CAP_SYS_ADMIN"} & found
        assert "cap_eff:CAP_SYS_ADMIN" in found or evidence.hints == (
            "posture selectors left out: the process makes threads faster than they can be read",
        )
    process.kill()


def test_more_threads_than_are_read(locked_in: LockedIn) -> None:
    evidence = evidence_of(locked_in("threading.stack_size(1 << 16)\nfor _ in range(1024): thread(lambda: None)"))
    assert evidence.selectors == frozenset()
    assert evidence.hints == ("posture selectors left out: the process has 1025 threads, the limit is 1024",)


@pytest.mark.root
def test_a_first_thread_in_namespaces_of_its_own_while_another_one_stays_on_the_host(locked_in: LockedIn) -> None:
    found = posture_of(locked_in("thread(lambda: None); unshare(NEWNET | NEWUTS)"))
    assert {"ns_net:host", "ns_uts:host"} <= found
    assert {"ns_net:private", "ns_uts:private"} <= posture_of(
        locked_in("unshare(NEWNET | NEWUTS); thread(lambda: None)")
    )


@pytest.mark.root
def test_a_first_thread_with_a_read_only_root_while_another_one_writes(locked_in: LockedIn) -> None:
    code = """
thread(lambda: None)
unshare(NEWNS)
mount(None, "/", PRIVATE)
mount(None, "/", REMOUNT_BIND_READ_ONLY)
"""
    evidence = evidence_of(locked_in(code))
    assert "rootfs:rw" in {selector.value for selector in evidence.selectors}
    assert evidence.hints == ("posture:runtime_socket left out: its threads have different mounts",)


def test_a_process_name_that_imitates_lines_of_status(locked_in: LockedIn) -> None:
    """A carriage return ends a line for some parsers, and not for the kernel."""
    assert posture_of(locked_in(r"libc.prctl(15, b'\rSeccomp:\t1', 0, 0, 0)")) == posture_of(locked_in(""))


@pytest.mark.root
def test_a_user_namespace_does_not_make_root_of_the_host_somebody_else(locked_in: LockedIn) -> None:
    """`mapped` says that nobody in there is the host's root: not so where root itself has just gone in."""
    assert "userns:nested" in posture_of(locked_in("unshare(NEWUSER)"))
