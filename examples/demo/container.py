"""A container as one of the demo's daemons, where a Docker engine of this machine answers. Nothing is pulled: the image
is a tree of empty directories, and the host's own directories are mounted read-only.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.demo.programs import User, import_path

__all__ = ["LABEL", "DemoContainer", "Engine", "EngineMissing", "find_engine"]

LABEL = "com.example.daemon"

_DEFAULT_HOST = "unix:///var/run/docker.sock"
# An engine that is asked about itself answers in well under a second; one that hangs is as good as none.
_ASK_TIMEOUT = 5
_WORK_TIMEOUT = 20
# What belongs to the system on every distribution. Where /usr is merged the others are links into it.
_SYSTEM = ("bin", "lib", "lib32", "lib64", "sbin")


class EngineMissing(Exception):
    """There is no engine that could run the demo's container; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A Docker engine that answers on a UNIX socket of this machine, and makes containers of its users."""

    socket: str
    version: str
    environment: Mapping[str, str]

    @property
    def is_default(self) -> bool:
        return f"unix://{self.socket}" == _DEFAULT_HOST

    def docker(self, *words: str, stdin: bytes | None = None) -> str:
        """Run the docker command and give its output. Raises `EngineMissing` with what it said."""
        return _docker(words, self.environment, stdin, _WORK_TIMEOUT)


def find_engine() -> Engine:
    """Raises `EngineMissing`."""
    if shutil.which("docker") is None:
        raise EngineMissing("there is no docker command")
    host = os.environ.get("DOCKER_HOST") or _DEFAULT_HOST
    if not host.startswith("unix://"):
        raise EngineMissing(f"the engine of DOCKER_HOST={host} does not run on this machine")
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"DOCKER_HOST": host}
    try:
        about = json.loads(_docker(("info", "--format", "{{json .}}"), environment, None, _ASK_TIMEOUT))
    except (EngineMissing, ValueError) as error:
        raise EngineMissing(f"no Docker engine answers uid {os.geteuid()} at {host}") from error
    if about.get("ServerErrors"):
        raise EngineMissing(f"no Docker engine answers uid {os.geteuid()} at {host}")
    options = [str(option) for option in about.get("SecurityOptions") or ()]
    for name in ("rootless", "userns"):
        if any(f"name={name}" in option for option in options):
            raise EngineMissing(f"the engine at {host} gives its containers users of its own ({name})")
    return Engine(
        socket=host.removeprefix("unix://"), version=str(about.get("ServerVersion", "?")), environment=environment
    )


def _docker(words: Sequence[str], environment: Mapping[str, str], stdin: bytes | None, timeout: float) -> str:
    try:
        done = subprocess.run(
            ["docker", *words],
            env=dict(environment),
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineMissing(f"docker {words[0]}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise EngineMissing(f"docker {words[0]}: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout.decode().strip()


class DemoContainer:
    """One container and its image, both of this demo alone."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name, self.image = name, f"{name}:demo"
        self.environment = engine.environment
        self.digest = ""

    def make_image(self) -> str:
        """Import the image; its digest, as the engine computes it."""
        self.digest = self._engine.docker("import", "-", self.image, stdin=_skeleton())
        return self.digest

    def words(
        self,
        command: Sequence[str | Path],
        *,
        user: User | None,
        mounts: Sequence[Path],
        environment: Mapping[str, str],
    ) -> list[str]:
        """The docker command that runs `command` in it, without a network, a capability or a word to write in."""
        uid, gid = (user.uid, user.uid) if user is not None else (os.getuid(), os.getgid())
        words = ["docker", "run", "--interactive", "--rm", f"--name={self.name}", f"--label={LABEL}=stock"]
        words += ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        words += [f"--user={uid}:{gid}"]
        for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH"):
            if name in environment:
                words.append(f"--env={name}={environment[name]}")
        words += [f"--mount=type=bind,src={path},dst={path},readonly" for path in _mounts(mounts)]
        return [*words, self.image, *map(str, command)]

    def remove(self) -> None:
        """Take container and image away, also if there is none."""
        for words in (("rm", "--force", self.name), ("rmi", "--force", self.image)):
            try:
                self._engine.docker(*words)
            except EngineMissing:
                pass  # there was none, or the engine has gone and they with it


def _mounts(more: Sequence[Path]) -> list[Path]:
    """What the interpreter and the code need of the host, each directory once."""
    wanted = [Path("/usr"), *(Path("/") / name for name in _SYSTEM if not (Path("/") / name).is_symlink())]
    wanted += [Path("/etc/ld.so.cache"), Path(sys.base_prefix).resolve()]
    libraries = sysconfig.get_config_var("LIBDIR")
    wanted += [Path(libraries).resolve()] if libraries else []
    wanted += [*map(Path, import_path()), *more]
    chosen: list[Path] = []
    for path in sorted({path for path in wanted if path.exists()}, key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(other) for other in chosen):
            chosen.append(path)
    return chosen


def _skeleton() -> bytes:
    """A root file system of empty directories, and the host's links into /usr."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("dev", "etc", "proc", "sys", "tmp", "usr"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for name in _SYSTEM:
            if (Path("/") / name).is_symlink():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, os.readlink(f"/{name}")
                tar.addfile(link)
    return file.getvalue()
