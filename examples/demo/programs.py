"""Programs of their own for the demo's daemons: copies of this interpreter, each with a name and a digest of its own,
and users of their own where that is possible.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Programs", "User", "child_environment", "import_path", "users_of_their_own"]

_CHECKOUT = Path(__file__).resolve().parents[2]
# Below 65534 (nobody), far above what systems hand out to people and services.
_FIRST_UID = 65001
# An interpreter that starts and imports a little takes a tenth of a second.
_TRY_TIMEOUT = 20
# Whoever may not read this interpreter's library can find another one's and get quite far with it.
_TRIAL = "import os, sys, inborn_cli, examples.demo; print(os.__file__, sys.version_info)"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user and group without a name, of one daemon alone."""

    uid: int

    def for_popen(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.uid, "extra_groups": []}


class Programs:
    """Makes programs below one directory. They import what this process imports, and run on nothing else."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._interpreter = Path(sys.executable).resolve()
        (directory / "bin").mkdir()
        # An interpreter looks for its library by this file, as in every virtual environment.
        (directory / "pyvenv.cfg").write_text(
            f"home = {self._interpreter.parent}\ninclude-system-site-packages = false\n"
        )

    def make(self, name: str) -> Path:
        """A copy of the interpreter under this name. Bytes after its end change its digest and nothing else."""
        path = self._directory / "bin" / name
        shutil.copyfile(self._interpreter, path)
        with path.open("ab") as file:
            file.write(f"\n{name}\n".encode())
        path.chmod(0o755)
        return path


def import_path() -> list[str]:
    """Where this process imports from, the demo itself included, but for the standard library."""
    paths = sysconfig.get_paths()
    standard = {str(Path(paths[key]).resolve()) for key in ("stdlib", "platstdlib")}
    found = [str(_CHECKOUT)]
    for entry in sys.path if sys.flags.safe_path else sys.path[1:]:
        resolved = str(Path(entry).resolve())
        is_standard = resolved in standard or Path(entry).name == "lib-dynload" or entry.endswith(".zip")
        if entry and not is_standard and os.path.isdir(entry) and resolved not in found:
            found.append(resolved)
    return found


def child_environment(**more: str) -> dict[str, str]:
    """The environment of everything that the demo starts: nobody's settings reach into it."""
    kept = ("LANG", "LC_ALL", "PATH", "TERM")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(import_path()), "PYTHONDONTWRITEBYTECODE": "1"}
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        environment["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    if os.geteuid() == 0:  # the demo's directory is closed to the users that a CA which root starts would take
        environment |= {"INBORN_SIGNER_USER": "root", "INBORN_FRONT_USER": "root"}
    return environment | more


def users_of_their_own(program: Path, count: int, environment: Mapping[str, str]) -> tuple[list[User], str]:
    """That many users for whom `program` runs, or none and the reason why not. Tried, not guessed."""
    if os.geteuid() != 0:
        return [], "without root every process here has the same user"
    users = _free_users(count)
    try:
        tried = subprocess.run(
            [program, "-c", _TRIAL],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TRY_TIMEOUT,
            check=False,
            **users[0].for_popen(),
        )
        found = tried.stdout.strip() or (tried.stderr.strip().splitlines() or ["it says nothing"])[-1]
        failure = "" if found == f"{os.__file__} {sys.version_info}" else found
    except (OSError, subprocess.SubprocessError) as error:
        failure = str(error)
    if not failure:
        return users, ""
    closed = _first_closed([program, Path(sys.base_prefix), *map(Path, import_path())])
    if closed is not None:
        return [], f"other users cannot enter {closed}, where the interpreter or the code lies"
    return [], f"a process of another user cannot run the interpreter ({failure})"


def _free_users(count: int) -> list[User]:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return [User(uid=uid) for uid in range(_FIRST_UID, 65534) if uid not in taken][:count]


def _first_closed(paths: list[Path]) -> Path | None:
    """The outermost directory above one of `paths` that others cannot enter."""
    for path in paths:
        for directory in reversed([path.resolve(), *path.resolve().parents]):
            if directory.is_dir() and not directory.stat().st_mode & 0o001:
                return directory
    return None
