"""Attempts to be taken for another process on the Workload API's socket. In all of them nothing reaches the server."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inborn._internal.process.pinning import IdentityChanged, PinMode, PinnedProcess, ProcessGone, pin_peer
from inborn.errors import DeniedError
from inborn_agent.attest import Evidence, WorkloadAttestors
from inborn_agent.attest.unix.attestor import attest_unix
from inborn_agent.relay.relay_limits import RelayLimits
from tests.inborn_agent.relay.fixtures_relay import PATIENCE, RelayRig, caller, line_of, open_descriptors, tell

SLEEP = shutil.which("sleep") or "/bin/sleep"
NOBODY = 65534

# One process connects, leaves the connection to its child and ends; then processes are made until one has its number.
REUSE = r"""
r, w = os.pipe()
first = os.fork()
if first == 0:
    s = connect()
    if os.fork() == 0:
        os.write(w, b"%d\n" % os.getpid())
        prove(s)
        wait_for_end(s)
        os._exit(0)
    os._exit(0)
os.waitpid(first, 0)
child = int(os.read(r, 20))
for _ in range(2000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(first - 1))
    victim = os.fork()
    if victim == 0:
        signal.pause()
    if victim == first:
        break
    os.kill(victim, 9)
    os.waitpid(victim, 0)
say(f"{first} {victim} {child}")
wait_for_line()
os.kill(victim, 9)
"""


def line_now(process: subprocess.Popen[str]) -> str:
    """The next line of a caller, while the event loop stands still: nothing is accepted meanwhile."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@pytest.mark.root
async def test_pid_reuse_between_connect_and_accept(relay_rig: RelayRig, callers: list[subprocess.Popen[str]]) -> None:
    callers.append(caller(REUSE, relay_rig.path))
    first, victim, child = line_now(callers[0]).split()
    assert first == victim, "the number could not be used again on this machine"
    denial = await relay_rig.denial()
    if relay_rig.relay.mode is PinMode.PEER_PIDFD:
        assert denial.kind == "ProcessGone"
    else:
        # An older kernel names the innocent process; only the proof of life finds out.
        assert (denial.kind, denial.pid) == ("ForeignBytes", int(victim))
        assert denial.message == f"the connection was opened by process {victim} and written on by process {child}"
    assert relay_rig.nothing_reached_the_server()
    tell(callers[0])


@pytest.mark.root
def test_pinning_alone_is_deceived_by_a_reused_pid_on_an_older_kernel_and_says_so(
    short_directory: Path, callers: list[subprocess.Popen[str]]
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_directory / "s"))
        listener.listen()
        callers.append(caller(REUSE, short_directory / "s"))
        victim = int(line_now(callers[0]).split()[1])
        connection, _ = listener.accept()
        with connection:
            with pytest.raises(ProcessGone, match="ended before it was pinned"):
                pin_peer(connection, mode=PinMode.PEER_PIDFD)
            with pin_peer(connection, mode=PinMode.PIDFD_OPEN) as process:
                assert (process.pid, process.mode) == (victim, PinMode.PIDFD_OPEN)
        tell(callers[0])


@pytest.mark.root
def test_a_number_used_again_after_accept_is_refused_on_an_older_kernel(
    short_directory: Path, callers: list[subprocess.Popen[str]]
) -> None:
    """The number is used again by another user: user and group of the connection give it away."""
    code = REUSE.replace(
        "signal.pause()", f"(os.setgid({NOBODY}), os.setuid({NOBODY}), os.write(w, b'x'), signal.pause())"
    )
    code = code.replace("if victim == first:", "os.read(r, 1)\n    if victim == first:")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_directory / "s"))
        listener.listen()
        callers.append(caller(code, short_directory / "s"))
        first, victim, _child = line_now(callers[0]).split()
        assert first == victim
        connection, _ = listener.accept()
        with connection, pytest.raises(IdentityChanged, match=f"connected as uid 0 gid 0 and runs as uid {NOBODY}"):
            pin_peer(connection, mode=PinMode.PIDFD_OPEN)
        tell(callers[0])


async def test_connect_fork_exec(relay_rig: RelayRig, callers: list[subprocess.Popen[str]]) -> None:
    """The process that connected has become a trusted program; its child speaks."""
    code = f"""
s = connect()
s.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))
s.set_inheritable(True)
if os.fork() == 0:
    say(str(os.getpid()))
    s.sendall(read_question(s))
    wait_for_end(s)
    say("end")
    os._exit(0)
os.execv({SLEEP!r}, ["sleep", "600"])
"""
    callers.append(caller(code, relay_rig.path))
    denial = await relay_rig.denial()
    child = await line_of(callers[0])
    assert (denial.kind, denial.pid) == ("ForeignBytes", callers[0].pid)
    assert denial.message.endswith(f"written on by process {child}")
    assert await line_of(callers[0]) == "end"
    assert relay_rig.nothing_reached_the_server()


async def test_descriptor_passed_to_another_process(relay_rig: RelayRig, callers: list[subprocess.Popen[str]]) -> None:
    """A connects and hands its descriptor to B, which is not even its child."""
    receiver = """
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".pass")
listener.listen()
say("listens")
passing, _ = listener.accept()
_, (descriptor,), _, _ = socket.recv_fds(passing, 1, 1)
s = socket.socket(fileno=descriptor)
prove(s)
wait_for_end(s)
"""
    sender = """
s = connect()
socket.send_fds(connect(sys.argv[1] + ".pass"), [b"x"], [s.fileno()])
wait_for_line()
"""
    callers.append(caller(receiver, relay_rig.path))
    assert await line_of(callers[0]) == "listens"
    callers.append(caller(sender, relay_rig.path))
    denial = await relay_rig.denial()
    assert (denial.kind, denial.pid) == ("ForeignBytes", callers[1].pid)
    assert denial.message.endswith(f"written on by process {callers[0].pid}")
    assert relay_rig.nothing_reached_the_server()


async def test_a_child_answers_and_its_parent_writes_the_rest(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    code = """
s = connect()
s.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))
answer = read_question(s)
if os.fork() == 0:
    s.sendall(answer)
    os._exit(0)
os.wait()
s.sendall(frame(HEADERS, 4, b"h", 1))
wait_for_end(s)
"""
    callers.append(caller(code, relay_rig.path))
    denial = await relay_rig.denial()
    assert denial.kind == "ForeignBytes"
    assert relay_rig.nothing_reached_the_server()


class HeldAttestor(WorkloadAttestors):
    """Begins to attest when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.is_allowed = asyncio.Event()

    async def attest(self, process: PinnedProcess) -> Evidence:
        self.is_asked.set()
        await self.is_allowed.wait()
        return await super().attest(process)


EXEC_LATER = f"""
r, w = os.pipe()
s = connect()
prove(s)
s.set_inheritable(True)
if os.fork() == 0:
    # The pipe's other end closes itself at exec().
    os.close(w)
    os.read(r, 1)
    say("exec done")
    wait_for_end(s)
    say("end")
    os._exit(0)
wait_for_line()
os.execv({SLEEP!r}, ["sleep", "600"])
"""


class TestExecAfterProof:
    @pytest.fixture
    async def attestor(self) -> AsyncIterator[HeldAttestor]:
        attestor = HeldAttestor()
        yield attestor
        attestor.close()

    async def test_exec_of_a_trusted_program_between_proof_and_attestation(
        self, relay_rig: RelayRig, attestor: HeldAttestor, callers: list[subprocess.Popen[str]]
    ) -> None:
        callers.append(caller(EXEC_LATER, relay_rig.path))
        await asyncio.wait_for(attestor.is_asked.wait(), PATIENCE)
        tell(callers[0])
        assert await line_of(callers[0]) == "exec done"
        attestor.is_allowed.set()
        denial = await relay_rig.denial()
        assert denial.kind == "IdentityChanged"
        assert await line_of(callers[0]) == "end"
        assert relay_rig.nothing_reached_the_server()

    async def test_exec_of_a_trusted_program_after_attestation_ends_at_the_next_one(
        self, relay_rig: RelayRig, attestor: HeldAttestor, callers: list[subprocess.Popen[str]]
    ) -> None:
        attestor.is_allowed.set()
        callers.append(caller(EXEC_LATER, relay_rig.path))
        connection = await relay_rig.connection()
        evidence = connection.evidence
        tell(callers[0])
        assert await line_of(callers[0]) == "exec done"
        with pytest.raises(IdentityChanged, match="has become another program"):
            await connection.attest_again()
        assert connection.evidence == evidence
        assert not connection.is_alive()
        assert await line_of(callers[0]) == "end"
        await asyncio.wait_for(connection.closed.wait(), PATIENCE)


async def test_a_child_cannot_live_on_its_dead_parents_connection(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    code = """
s = connect()
prove(s)
if os.fork() == 0:
    say("child")
    wait_for_end(s)
    say("end")
    os._exit(0)
wait_for_line()
"""
    callers.append(caller(code, relay_rig.path))
    connection = await relay_rig.connection()
    assert await line_of(callers[0]) == "child"
    tell(callers[0])
    await asyncio.wait_for(connection.closed.wait(), PATIENCE)
    assert await line_of(callers[0]) == "end"


async def test_descriptors_sent_along_are_refused_and_do_not_pile_up(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    code = """
s = connect()
answer = read_question(s)
socket.send_fds(s, [PREFACE + frame(SETTINGS) + answer + frame(SETTINGS, ACK)], [0] * int(sys.stdin.readline()))
wait_for_end(s)
"""
    before = open_descriptors()
    for number in (1, 2, 100, 253):
        callers.append(caller(code, relay_rig.path))
        tell(callers[-1], str(number))
        assert (await relay_rig.denial()).kind == "ForeignBytes"
    assert relay_rig.nothing_reached_the_server()
    # Two pipes of each caller.
    assert len(open_descriptors() - before) == 2 * len(callers)


def test_a_process_name_that_imitates_a_line_of_status(
    short_directory: Path, pin_mode: PinMode, callers: list[subprocess.Popen[str]]
) -> None:
    code = r"""
ctypes.CDLL(None).prctl(15, b"\rUid:\t0 7 0 0", 0, 0, 0)
s = connect()
wait_for_line()
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_directory / "s"))
        listener.listen()
        callers.append(caller(code, short_directory / "s"))
        connection, _ = listener.accept()
        with connection, pin_peer(connection, mode=pin_mode) as process:
            assert b"Uid:\t0 7" in process.read("status").split(b"\n")[0]
            uids = {str(s) for s in attest_unix(process).selectors if s.value.startswith("uid:")}
            assert uids == {f"unix:uid:{os.geteuid()}"}


@pytest.mark.root
def test_connect_then_exec_a_setuid_program(
    short_directory: Path, pin_mode: PinMode, callers: list[subprocess.Popen[str]]
) -> None:
    program = short_directory / "setuid"
    shutil.copyfile(SLEEP, program)
    program.chmod(0o4755)
    code = f"""
r, w = os.pipe()
s = connect()
s.set_inheritable(True)
if os.fork() == 0:
    os.close(w)
    os.read(r, 1)
    say("exec done")
    wait_for_end(s)
    os._exit(0)
os.execv({str(program)!r}, ["sleep", "600"])
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_directory / "s"))
        (short_directory / "s").chmod(0o666)
        listener.listen()
        callers.append(caller(code, short_directory / "s", uid=NOBODY))
        assert line_now(callers[0]) == "exec done"
        connection, _ = listener.accept()
        with (
            connection,
            pytest.raises(IdentityChanged, match=f"connected as uid {NOBODY} gid {NOBODY} and runs as uid 0"),
        ):
            pin_peer(connection, mode=pin_mode)


@pytest.mark.root
async def test_a_user_changed_after_connecting_is_found_at_the_next_attestation(
    relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
) -> None:
    become = f"os.setgid({NOBODY}); os.setuid({NOBODY})"
    code = f"s = connect(); prove(s); wait_for_line(); {become}; say('done'); wait_for_end(s)"
    callers.append(caller(code, relay_rig.path))
    connection = await relay_rig.connection()
    tell(callers[0])
    assert await line_of(callers[0]) == "done"
    with pytest.raises(IdentityChanged, match=f"was uid 0 gid 0 and is uid {NOBODY}"):
        await connection.attest_again()
    await asyncio.wait_for(connection.closed.wait(), PATIENCE)


class TestFlood:
    @pytest.fixture
    def relay_limits(self) -> RelayLimits:
        return RelayLimits(connections=300, connections_of_one_uid=150, unproven_of_one_uid=100)

    @pytest.mark.root
    async def test_silent_callers_do_not_lock_out_others(
        self, relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
    ) -> None:
        """Ten thousand connections of one user, none of which says a word, while another user asks."""
        code = """
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for n in range(int(sys.stdin.readline())):
    held.append(connect())
    if n == 1_000:
        say("began")
say("all")
wait_for_line()
"""
        # As many processes as it takes with the limit of open files that this machine gives to each.
        missing, each = 10_000, min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)
        flood = []
        while missing > 0:
            flood.append(caller(code, relay_rig.path, uid=NOBODY))
            tell(flood[-1], str(min(missing, each)))
            missing -= each
        callers.extend(flood)
        assert await line_of(flood[0]) == "began"
        for _ in range(3):
            callers.append(caller("s = connect(); prove(s); wait_for_end(s)", relay_rig.path))
            connection = await relay_rig.connection()
            assert connection.process.uid == 0
        for process in flood:
            while await line_of(process) != "all":
                pass
        callers.append(caller("s = connect(); prove(s); wait_for_end(s)", relay_rig.path))
        assert (await relay_rig.connection()).process.uid == 0
        assert relay_rig.relay.denials.counts.keys() <= {"TooManyConnections", "TooSlow"}
        assert relay_rig.relay.denials.counts["TooManyConnections"] >= 9_000

    async def test_silent_callers_of_ones_own_uid_are_let_go(
        self, relay_rig: RelayRig, callers: list[subprocess.Popen[str]]
    ) -> None:
        code = "held = [connect() for _ in range(100)]; say('all'); wait_for_line(); held.clear(); wait_for_line()"
        callers.append(caller(code, relay_rig.path))
        assert await line_of(callers[0]) == "all"
        callers.append(caller("s = connect(); wait_for_end(s)", relay_rig.path))
        denial = await relay_rig.denial()
        assert denial.message == f"100 silent connections of uid {os.geteuid()}, that is the limit"
        tell(callers[0])
        for _ in range(100):
            assert (await relay_rig.denial()).kind == "ProcessGone"
        callers.append(caller("s = connect(); prove(s); wait_for_end(s)", relay_rig.path))
        assert (await relay_rig.connection()).is_alive()


STEPS = {
    "connected": "s = connect()",
    "half_preface": "s = connect(); s.sendall(PREFACE[:7])",
    "preface": "s = connect(); s.sendall(PREFACE + frame(SETTINGS))",
    "settings_ack": "s = connect(); s.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK)); read_question(s)",
    "ping_ack": "s = connect(); s.sendall(PREFACE + frame(SETTINGS)); s.sendall(read_question(s))",
    "proven": "s = connect(); prove(s)",
}


class TestDeath:
    @pytest.fixture
    async def attestor(self) -> AsyncIterator[HeldAttestor]:
        attestor = HeldAttestor()
        yield attestor
        attestor.close()

    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("child_keeps_the_connection", [False, True], ids=["alone", "with_a_child"])
    async def test_dying_caller_at_each_step(
        self,
        relay_rig: RelayRig,
        attestor: HeldAttestor,
        callers: list[subprocess.Popen[str]],
        step: str,
        child_keeps_the_connection: bool,
    ) -> None:
        before = open_descriptors()
        child = "if os.fork() == 0:\n    wait_for_end(s)\n    os._exit(0)\n" if child_keeps_the_connection else ""
        callers.append(caller(f"{STEPS[step]}\n{child}say('there'); signal.pause()", relay_rig.path))
        assert await line_of(callers[0]) == "there"
        if step == "proven":
            await asyncio.wait_for(attestor.is_asked.wait(), PATIENCE)
        callers[0].kill()
        callers[0].wait()
        if step == "proven":
            attestor.is_allowed.set()
        denial = await relay_rig.denial()
        assert denial.kind == "ProcessGone"
        assert relay_rig.nothing_reached_the_server()
        await relay_rig.relay.close()
        assert len(open_descriptors() - before) == 2  # the caller's pipes

    async def test_dying_caller_before_accept(self, relay_rig: RelayRig, callers: list[subprocess.Popen[str]]) -> None:
        code = "s = connect(); s.sendall(PREFACE); say('there'); signal.pause()"
        callers.append(caller(code, relay_rig.path))
        assert line_now(callers[0]) == "there"
        callers[0].kill()
        callers[0].wait()
        assert (await relay_rig.denial()).kind == "ProcessGone"

    async def test_dying_caller_while_it_is_relayed(
        self, relay_rig: RelayRig, attestor: HeldAttestor, callers: list[subprocess.Popen[str]]
    ) -> None:
        attestor.is_allowed.set()
        callers.append(caller("s = connect(); prove(s); wait_for_end(s)", relay_rig.path))
        connection = await relay_rig.connection()
        reader, writer = await relay_rig.stream()
        callers[0].kill()
        await asyncio.wait_for(connection.closed.wait(), PATIENCE)
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        with pytest.raises(DeniedError):
            await connection.attest_again()
