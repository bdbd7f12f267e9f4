"""How an agent was told to run, and where its files lie."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inborn._internal.address import Address, parse_target
from inborn._internal.enrollment.join_token import KIND as JOIN_TOKEN
from inborn._internal.enrollment.x509pop import KIND as X509POP
from inborn._internal.host import paths
from inborn._internal.metrics.metrics_address import parse_metrics_address
from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.spiffe.spiffe_id import parse_trust_domain
from inborn.errors import RequestError
from inborn_agent.attest import EngineClient
from inborn_agent.disk.tmpfs import is_in_memory
from inborn_member.node_attestors.x509pop import BundlePin, CertificateFiles

__all__ = ["AgentSettings", "keys_directory", "parse_rootless", "private_runtime_directory", "trusted_engine_socket"]

_DOCKER = "/var/run/docker.sock"
_PODMAN = "/run/podman/podman.sock"

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- a tmpfs; what we make in it is ours alone, and checked to be


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Checked: what can be told from the values alone is right."""

    ca: str
    """`HOST:PORT` of the bootstrap port; empty where the CA's admin socket says it."""
    join_token_file: str
    join_admin_socket: Path | None
    data_dir: Path
    """The agent's own files lie in `agent` below it."""
    socket: Path
    admin_socket: Path
    runtime_dir: Path
    metrics_address: Address | None
    docker_socket: str
    """Empty: there is none whose word counts."""
    podman_socket: str = ""
    """The same."""
    rootless_engines: tuple[tuple[int, str], ...] = ()
    """Uid and socket of engines that ordinary users run; each counts for its user's own containers."""
    proc: str = "/proc"
    """Where the host's procfs is mounted."""
    ready_fd: int | None = None
    x509pop: CertificateFiles | None = None
    """With which certificate the agent enrolls; None: not with one."""

    def engines(self) -> list[EngineClient]:
        """Those to ask about containers, each once."""
        roots = {os.path.realpath(path): path for path in (self.docker_socket, self.podman_socket) if path}
        clients = [EngineClient(path) for path in roots.values()]
        return clients + [EngineClient(path, owner_uid=uid) for uid, path in self.rootless_engines]

    @property
    def agent_dir(self) -> Path:
        return self.data_dir / "agent"

    @classmethod
    def resolve(
        cls,
        options: AgentOptions,
        environment: Mapping[str, str] = os.environ,
    ) -> AgentSettings:
        """Fill in what was left out. Raises `RequestError`."""
        if options.join_token_file and options.join_admin_socket is not None:
            raise RequestError("a join token comes from a file or from the CA's admin socket, not from both")
        x509pop = _certificate_files(options)
        if x509pop is not None and (options.join_token_file or options.join_admin_socket is not None):
            raise RequestError("an agent enrolls with a certificate or with a join token, not with both")
        if options.ca:
            parse_target(options.ca)
        elif options.join_token_file or x509pop is not None:
            raise RequestError("--ca is missing", hint="name the bootstrap port: --ca ca.internal:8443")
        data = paths.data_dir(options.data_dir)
        docker, podman = options.docker_socket, options.podman_socket
        return cls(
            ca=options.ca,
            join_token_file=options.join_token_file,
            join_admin_socket=options.join_admin_socket,
            data_dir=data,
            socket=(options.socket or paths.workload_socket(data)).absolute(),
            admin_socket=(options.admin_socket or paths.agent_admin_socket(data)).absolute(),
            runtime_dir=(options.runtime_dir or private_runtime_directory(data, environment)).absolute(),
            metrics_address=parse_metrics_address(options.metrics_address) if options.metrics_address else None,
            docker_socket=docker if docker is not None else trusted_engine_socket(_DOCKER),
            podman_socket=podman if podman is not None else trusted_engine_socket(_PODMAN),
            rootless_engines=tuple(map(parse_rootless, options.rootless_engines)),
            proc=options.proc,
            ready_fd=options.ready_fd,
            x509pop=x509pop,
        )


def _certificate_files(options: AgentOptions) -> CertificateFiles | None:
    """What the agent was told of a certificate to enroll with; None: nothing. Raises `RequestError`."""
    kind, pin = options.node_attestor, options.pin
    if kind not in ("", JOIN_TOKEN, X509POP):
        raise RequestError(f"no node attestor is called {kind[:40]!a}, only {JOIN_TOKEN} and {X509POP}")
    if kind != X509POP:
        if options.certificate or options.key or options.bundle or pin:
            raise RequestError(
                "certificate, key, bundle and pin go with the node attestor x509pop", hint="--node-attestor x509pop"
            )
        return None
    if options.certificate is None or options.key is None:
        raise RequestError("x509pop needs a certificate and its key", hint="--certificate FILE --key FILE")
    if (options.bundle is None) is not bool(pin):
        raise RequestError(
            "the CA's bundle is named by a file or by a pin, one of the two",
            hint="--bundle FILE, from `inborn bundle show`, or --pin DIGEST, from `inborn bundle show --format pin`",
        )
    if pin and not options.trust_domain:
        raise RequestError("a pin does not say whose bundle it is", hint="--trust-domain NAME")
    return CertificateFiles(
        certificate=options.certificate.absolute(),
        key=options.key.absolute(),
        bundle=options.bundle.absolute() if options.bundle is not None else None,
        pin=BundlePin.parse(pin, parse_trust_domain(options.trust_domain)) if pin else None,
    )


def private_runtime_directory(data: Path, environment: Mapping[str, str]) -> Path:
    """Where what does not outlive the machine's run lies, for the agent's user alone.

    Beside the directory of the Workload API's socket and not below it: containers are given that one, and root in a
    container would read the keys of every workload.
    """
    public = paths.runtime_dir(data)
    for named in environment.get("RUNTIME_DIRECTORY", "").split(":"):  # systemd.exec(5); it sorts them
        if named and Path(named) != public:
            return Path(named) / "agent"
    return public.with_name(f"{public.name}-agent")


def keys_directory(runtime: Path) -> Path:
    """Where keys of workloads are kept: in memory. Below the runtime directory, or in a directory of our own in
    /dev/shm where that one lies on a disk; where neither is in memory, or somebody else has taken our name in /dev/shm,
    the store keeps nothing."""
    existing = next((path for path in (runtime, *runtime.parents) if path.is_dir()), runtime)
    if is_in_memory(existing) or not is_in_memory(_SHARED_MEMORY):
        return runtime
    name = hashlib.sha256(os.fsencode(runtime)).hexdigest()[:16]
    ours = _SHARED_MEMORY / f"inborn-{os.geteuid()}-{name}"
    try:
        found = ours.lstat()
    except FileNotFoundError:
        return ours
    # Anybody may make a directory there, and must not keep the agent from starting by that.
    return ours if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() else runtime


def parse_rootless(text: str) -> tuple[int, str]:
    """Read `UID:PATH`, an engine of an ordinary user. Raises `RequestError`."""
    number, _, path = text.partition(":")
    if not (number.isascii() and number.isdigit() and path.startswith("/")) or not 0 < int(number) < (1 << 32) - 1:
        raise RequestError(
            f"{text[:80]!a} is not a user's container engine",
            hint="write UID:PATH, as in 1000:/run/user/1000/podman/podman.sock",
        )
    return int(number), path


def trusted_engine_socket(path: str) -> str:
    """The container engine's socket, if root owns it: anybody else could say anything on a socket of their own."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return path if stat.S_ISSOCK(found.st_mode) and found.st_uid == 0 else ""
