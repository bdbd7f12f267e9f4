"""The command as a program: help, what it loads, exit statuses, what is missing."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from inborn.errors import InternalError
from inborn_cli import GROUPS, VERBS, main
from inborn_cli.program import run
from tests.inborn_cli.fixtures_cli import Command, FakeCa

HEAVY = {
    "grpc",
    "cryptography",
    "sqlite3",
    "sqlite_utils",
    "google.protobuf",
    "h11",
    "prometheus_client",
    "http.server",
    "asyncio",
    "inborn._internal.spiffe.x509_svid",
}
ROOT = Path(__file__).resolve().parents[2]


def python(code: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto", "ca"))
    environment = {**os.environ, "PYTHONPATH": path, **(env or {})}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("path", [verb.path for verb in VERBS])
def test_every_verb_has_help_with_an_example(path: str, inborn: Command) -> None:
    ran = inborn(*path.split(), "--help")
    assert ran.status == 0, ran.err
    assert f"Usage: inborn {path}" in ran.out
    assert f"inborn {path}" in ran.out.partition("Example:")[2]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_every_group_names_its_verbs_and_an_example(group: object, inborn: Command) -> None:
    name = group.name  # type: ignore[attr-defined]
    ran = inborn(name, "--help")
    verbs = [verb for verb in VERBS if verb.path.startswith(f"{name} ")]
    assert ran.status == 0
    assert verbs
    for verb in verbs:
        assert f"  {verb.path.partition(' ')[2]} " in ran.out
    assert f"inborn {name}" in ran.out.partition("Example:")[2]


def test_a_group_alone_shows_its_help_and_is_a_usage_error(inborn: Command) -> None:
    ran = inborn("token")
    assert ran.status == 2
    assert "create" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("words", [["--help"], ["token", "--help"], []])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from inborn_cli import main; main({words!r}); print(*sys.modules, file=sys.stderr)"
    ran = python(code)
    loaded = set(ran.stderr.splitlines()[-1].split())
    assert "inborn_cli.program" in loaded
    assert not loaded & HEAVY
    assert not any(
        name.startswith("inborn_cli.") for name in loaded - {"inborn_cli.program", "inborn._internal.host.talk"}
    )


def test_help_comes_at_once(tmp_path: Path) -> None:
    """In ratio to the start of Python with click alone, and in time of the processor: the machine may be busy."""

    def took(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = python(code, env={"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)})
        assert ran.returncode == 0, ran.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    help_only = "import sys; from inborn_cli import main; sys.exit(main(['--help']))"
    took(help_only)  # which writes the bytecode
    assert min(took(help_only) for _ in range(5)) < 3 * min(took("import click") for _ in range(5))


def test_without_click_the_extra_is_named() -> None:
    ran = python("import sys; sys.modules['click'] = None; from inborn_cli import main; sys.exit(main(['status']))")
    assert ran.returncode == 1
    assert ran.stderr == "error: the command needs click; install it with: pip install 'inborn[cli]'\n"


@pytest.mark.parametrize(("module", "verb", "extra"), [("sqlite_utils", "ca restore", "ca"), ("click", "up", "cli")])
def test_a_missing_extra_is_named(module: str, verb: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from inborn_cli import main\n"
        f"sys.exit(main([*{verb.split()!r}, '--help']))"
    )
    ran = python(code)
    if ran.returncode:  # a verb may load the module only when it runs: then its help works without
        assert f"pip install 'inborn[{extra}]'" in ran.stderr
        assert len(ran.stderr.splitlines()) <= 2


def test_extra_is_named_where_the_http_parser_is_missing(tmp_path: Path) -> None:
    """The socket for nginx's `auth_request` alone needs it: what only writes files goes on without."""
    code = "import sys; sys.modules['h11'] = None; from inborn_cli import main\n"
    code += f"sys.exit(main(['files', '{tmp_path}/tls', '--auth-socket', '{tmp_path}/auth.sock']))"
    ran = python(code, env={"SPIFFE_ENDPOINT_SOCKET": f"unix://{tmp_path}/nobody.sock"})
    assert ran.returncode == 1
    assert ran.stderr == ("error: 'inborn files' needs h11, which is not installed\nhint: pip install 'inborn[cli]'\n")


def test_extra_that_a_running_verb_misses_is_named(monkeypatch: pytest.MonkeyPatch, inborn: Command) -> None:
    monkeypatch.setitem(
        sys.modules, "inborn_cli.admin.health", module_with(ModuleNotFoundError("no", name="sqlite_utils.db"))
    )
    ran = inborn("health")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        "error: 'inborn health' needs sqlite_utils, which is not installed\nhint: pip install 'inborn[cli]'\n"
    )


def module_with(error: BaseException) -> object:
    """A verb's module whose verb ends with this error."""

    @click.command()
    def health() -> None:
        raise error

    return type("Module", (), {"health": health})


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: permission denied\n"),
        (OSError("odd"), 1, "error: odd\n"),
        (KeyboardInterrupt(), 130, ""),
        (InternalError("broken\x1b[2J", hint="look"), 1, "error: broken?[2J\nhint: look\n"),
        (ZeroDivisionError("why"), 1, "error: internal: ZeroDivisionError: why\nhint: INBORN_DEBUG=1 shows where\n"),
    ],
)
def test_errors_become_an_exit_status_and_one_line(
    error: BaseException, status: int, message: str, monkeypatch: pytest.MonkeyPatch, inborn: Command
) -> None:
    monkeypatch.setitem(sys.modules, "inborn_cli.admin.health", module_with(error))
    ran = inborn("health")
    assert (ran.status, ran.out, ran.err) == (status, "", message)


def test_bug_shows_where_it_is_when_asked(monkeypatch: pytest.MonkeyPatch, inborn: Command) -> None:
    monkeypatch.setitem(sys.modules, "inborn_cli.admin.health", module_with(ZeroDivisionError("why")))
    monkeypatch.setenv("INBORN_DEBUG", "1")
    assert "Traceback" in inborn("health").err


def test_a_reader_that_went_away_ends_it_without_a_word(fake_ca: FakeCa) -> None:
    code = (
        "import os, sys; from inborn_cli import main\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "sys.exit(main(['revocations', 'list']))"
    )
    ran = python(code, env={"INBORN_ADMIN_SOCKET": str(fake_ca.path)})
    assert ran.stderr == ""
    assert ran.returncode == 141


def test_options_come_from_the_environment(fake_ca: FakeCa, inborn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBORN_TOKEN_CREATE_USES", "7")
    monkeypatch.setenv("INBORN_TOKEN_CREATE_TTL", "2h")
    assert inborn("token create").status == 0
    ((name, request),) = fake_ca.requests
    assert (name, request.uses, request.ttl_seconds) == ("CreateToken", 7, 7200)  # type: ignore[attr-defined]


def test_ca_that_does_not_run_is_said(inborn: Command, short_dir: Path) -> None:
    ran = inborn("token", "list", "--data-dir", str(short_dir))
    assert ran.status == 1
    assert ran.err.startswith(f"error: no CA answers at {short_dir}/ca/")
    assert "hint: " in ran.err


def test_ca_of_somebody_else_is_said(inborn: Command, fake_ca: FakeCa) -> None:
    assert inborn("token list").status == 0  # and everything that it needs is loaded
    fake_ca.path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # root may open everything
    try:
        ran = inborn("token list")
    finally:
        if is_root:
            os.seteuid(0)
    assert ran.status == 1
    assert ran.err.startswith(f"error: no permission to open {fake_ca.path}\nhint: admin commands are for root")


def test_progress_is_shown_on_a_terminal_and_taken_away() -> None:
    code = (
        "from inborn._internal.host.talk import ProgressLine\n"
        "progress = ProgressLine(); progress.show('1 of 2 peers'); progress.show('2\\x1b'); progress.end()"
    )
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    subprocess.run([sys.executable, "-c", code], stderr=slave, env=environment, check=True)
    os.close(slave)
    shown = os.read(master, 1000)
    os.close(master)
    assert shown == b"\r1 of 2 peers\r2?          \r  \r"
    assert python(code).stderr == ""


def test_control_c_ends_a_waiting_command_with_130(fake_ca: FakeCa) -> None:
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))
    process = subprocess.Popen(
        [sys.executable, "-m", "inborn_cli", "audit", "list", "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "INBORN_ADMIN_SOCKET": str(fake_ca.path)},
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == 1
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == ""


def test_main_takes_the_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capfd: object) -> None:
    monkeypatch.setattr(sys, "argv", ["inborn", "--version"])
    assert main() == 0
    assert run(["--version"]) == 0
