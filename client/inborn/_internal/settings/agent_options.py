"""What an agent is told: by a command line or the environment, or by a supervisor that starts one beside its CA.

It stands in the library because both sides of the machine need it and do not know each other. These are words as they
were given; the agent checks them (`inborn_agent.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from inborn._internal.settings.flag import Flag

__all__ = ["AgentOptions", "LogLevel", "NodeAttestorKind"]

LogLevel = Literal["debug", "info", "warning"]
NodeAttestorKind = Literal["join_token", "x509pop"]

LOG_LEVEL = Flag("--log-level", env="INBORN_LOG_LEVEL", help="How much is said on standard error.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """Not checked. What is None or empty was left out."""

    ca: Annotated[str, Flag("--ca", metavar="HOST:PORT", env="INBORN_CA", help="The CA's bootstrap port.")] = ""
    join_token_file: Annotated[
        str,
        Flag(
            "--join-token-file",
            metavar="FILE",
            env="INBORN_JOIN_TOKEN_FILE",
            help="Where the join token is read from, when the agent has to enroll; - is standard input.",
        ),
    ] = ""
    join_admin_socket: Annotated[
        Path | None,
        Flag(
            "--join-admin-socket",
            env="INBORN_JOIN_ADMIN_SOCKET",
            help="The admin socket of a CA on this host: the agent gets its join tokens there by itself.",
        ),
    ] = None
    node_attestor: Annotated[
        NodeAttestorKind,
        Flag("--node-attestor", env="INBORN_NODE_ATTESTOR", help="With what evidence the agent enrolls."),
    ] = "join_token"
    certificate: Annotated[
        Path | None,
        Flag(
            "--certificate",
            metavar="FILE",
            env="INBORN_X509POP_CERTIFICATE",
            help="x509pop: this machine's certificate of another CA and its issuers, PEM.",
        ),
    ] = None
    key: Annotated[
        Path | None,
        Flag(
            "--key",
            metavar="FILE",
            env="INBORN_X509POP_KEY",
            help="x509pop: the certificate's key, PEM, readable by its owner alone.",
        ),
    ] = None
    bundle: Annotated[
        Path | None,
        Flag(
            "--bundle",
            metavar="FILE",
            env="INBORN_BUNDLE",
            help="x509pop: the CA's roots, as 'inborn bundle show' prints them.",
        ),
    ] = None
    pin: Annotated[
        str,
        Flag(
            "--pin",
            metavar="DIGEST",
            env="INBORN_PIN",
            help="x509pop: or their digest, as 'inborn bundle show --format pin' prints it.",
        ),
    ] = ""
    trust_domain: Annotated[
        str,
        Flag(
            "--trust-domain",
            metavar="NAME",
            env="INBORN_TRUST_DOMAIN",
            help="x509pop: the CA's trust domain, with --pin.",
        ),
    ] = ""
    data_dir: Path | None = None
    socket: Annotated[
        Path | None,
        Flag(
            "--socket",
            env="INBORN_SOCKET",
            help="The Workload API's socket, open to everybody (default: in /run/inborn, $XDG_RUNTIME_DIR/inborn or "
            "the data directory).",
        ),
    ] = None
    admin_socket: Annotated[
        Path | None,
        Flag("--admin-socket", env="INBORN_AGENT_SOCKET", help="The agent's own socket, for root and its user."),
    ] = None
    runtime_dir: Annotated[
        Path | None,
        Flag(
            "--runtime-dir",
            env="INBORN_RUNTIME_DIR",
            help="For what does not outlive the machine's run, keys of workloads among it (kept where it is a tmpfs).",
        ),
    ] = None
    metrics_address: Annotated[
        str,
        Flag(
            "--metrics-address",
            metavar="IP:PORT",
            env="INBORN_METRICS_ADDRESS",
            help="Serve the agent's Prometheus metrics there, on loopback.",
        ),
    ] = ""
    docker_socket: Annotated[
        str | None,
        Flag(
            "--docker-socket",
            metavar="PATH",
            env="INBORN_DOCKER_SOCKET",
            help="The container engine's socket; empty: none (default: /var/run/docker.sock, if root owns it).",
        ),
    ] = None
    podman_socket: Annotated[
        str | None,
        Flag(
            "--podman-socket",
            metavar="PATH",
            env="INBORN_PODMAN_SOCKET",
            help="The same of Podman's service (default: /run/podman/podman.sock, if root owns it).",
        ),
    ] = None
    rootless_engines: Annotated[
        tuple[str, ...],
        Flag(
            "--rootless-engine",
            metavar="UID:PATH",
            env="INBORN_ROOTLESS_ENGINES",
            help="An engine that this user runs, believed about that user's containers; its facts begin with "
            "rootless:.",
        ),
    ] = ()
    proc: Annotated[
        str,
        Flag(
            "--proc",
            metavar="PATH",
            env="INBORN_PROC",
            help="Where the host's /proc is mounted, for an agent in a container of its own.",
        ),
    ] = "/proc"
    log_level: Annotated[LogLevel, LOG_LEVEL] = "info"
    ready_fd: Annotated[
        int | None,
        Flag("--ready-fd", env="INBORN_READY_FD", help="Write a line to this descriptor when it serves."),
    ] = None
