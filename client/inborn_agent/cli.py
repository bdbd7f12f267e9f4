"""`inborn agent run`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from inborn_cli.options import example

__all__ = ["agent_run", "main"]

_PATH = click.Path(path_type=Path)


@click.command(
    "run",
    help="Run the agent of this machine: it stands between the CA and the workloads.\n\n"
    + example("inborn agent run --ca ca.internal:8443 --join-token-file /run/join-token"),
)
@click.option("--ca", metavar="HOST:PORT", envvar="INBORN_CA", default="", help="The CA's bootstrap port.")
@click.option(
    "--join-token-file",
    metavar="FILE",
    envvar="INBORN_JOIN_TOKEN_FILE",
    default="",
    help="Where the join token is read from, when the agent has to enroll; - is standard input.",
)
@click.option(
    "--join-admin-socket",
    type=_PATH,
    envvar="INBORN_JOIN_ADMIN_SOCKET",
    help="The admin socket of a CA on this host: the agent gets its join tokens there by itself.",
)
@click.option(
    "--node-attestor",
    type=click.Choice(["join_token", "x509pop"]),
    envvar="INBORN_NODE_ATTESTOR",
    default="join_token",
    show_default=True,
    help="With what evidence the agent enrolls.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    type=_PATH,
    envvar="INBORN_X509POP_CERTIFICATE",
    help="x509pop: this machine's certificate of another CA and its issuers, PEM.",
)
@click.option(
    "--key",
    metavar="FILE",
    type=_PATH,
    envvar="INBORN_X509POP_KEY",
    help="x509pop: the certificate's key, PEM, readable by its owner alone.",
)
@click.option(
    "--bundle",
    metavar="FILE",
    type=_PATH,
    envvar="INBORN_BUNDLE",
    help="x509pop: the CA's roots, as 'inborn bundle show' prints them.",
)
@click.option(
    "--pin",
    metavar="DIGEST",
    envvar="INBORN_PIN",
    default="",
    help="x509pop: or their digest, as 'inborn bundle show --format pin' prints it.",
)
@click.option(
    "--trust-domain",
    metavar="NAME",
    envvar="INBORN_TRUST_DOMAIN",
    default="",
    help="x509pop: the CA's trust domain, with --pin.",
)
@click.option(
    "--data-dir",
    type=_PATH,
    envvar="INBORN_DATA_DIR",
    help="The data directory (default: /var/lib/inborn for root, else below ~/.local/state).",
)
@click.option("--socket", type=_PATH, envvar="INBORN_SOCKET", help="The Workload API's socket, open to everybody.")
@click.option(
    "--admin-socket", type=_PATH, envvar="INBORN_AGENT_SOCKET", help="The agent's own socket, for root and its user."
)
@click.option(
    "--runtime-dir",
    type=_PATH,
    envvar="INBORN_RUNTIME_DIR",
    help="For what does not outlive the machine's run, keys of workloads among it (kept where it is a tmpfs).",
)
@click.option(
    "--metrics-address",
    metavar="IP:PORT",
    envvar="INBORN_METRICS_ADDRESS",
    default="",
    help="Serve Prometheus metrics there, on loopback.",
)
@click.option(
    "--docker-socket",
    metavar="PATH",
    envvar="INBORN_DOCKER_SOCKET",
    help="The container engine's socket; empty: none (default: /var/run/docker.sock, if root owns it).",
)
@click.option(
    "--podman-socket",
    metavar="PATH",
    envvar="INBORN_PODMAN_SOCKET",
    help="The same of Podman's service (default: /run/podman/podman.sock, if root owns it).",
)
@click.option(
    "--rootless-engine",
    metavar="UID:PATH",
    multiple=True,
    envvar="INBORN_ROOTLESS_ENGINES",
    help="An engine that this user runs, believed about that user's containers; its facts begin with rootless:.",
)
@click.option(
    "--proc",
    metavar="PATH",
    envvar="INBORN_PROC",
    default="/proc",
    show_default=True,
    help="Where the host's /proc is mounted, for an agent in a container of its own.",
)
@click.option("--log-level", envvar="INBORN_LOG_LEVEL", default="info", type=click.Choice(["debug", "info", "warning"]))
@click.option("--ready-fd", type=int, envvar="INBORN_READY_FD", help="Write a line to this descriptor when it serves.")
def agent_run(
    ca: str,
    join_token_file: str,
    join_admin_socket: Path | None,
    node_attestor: str,
    certificate: Path | None,
    key: Path | None,
    bundle: Path | None,
    pin: str,
    trust_domain: str,
    data_dir: Path | None,
    socket: Path | None,
    admin_socket: Path | None,
    runtime_dir: Path | None,
    metrics_address: str,
    docker_socket: str | None,
    podman_socket: str | None,
    rootless_engine: tuple[str, ...],
    proc: str,
    log_level: str,
    ready_fd: int | None,
) -> None:
    # Before grpc is loaded: what its core logs has texts of callers in it as they came, and would stand in our log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from inborn._internal.host.log import configure
    from inborn_agent.app import run
    from inborn_agent.settings import AgentSettings

    configure(log_level)
    run(
        AgentSettings.resolve(
            ca=ca,
            join_token_file=join_token_file,
            join_admin_socket=join_admin_socket,
            node_attestor=node_attestor,
            certificate=certificate,
            key=key,
            bundle=bundle,
            pin=pin,
            trust_domain=trust_domain,
            data_dir=data_dir,
            socket=socket,
            admin_socket=admin_socket,
            runtime_dir=runtime_dir,
            metrics_address=metrics_address,
            docker_socket=docker_socket,
            podman_socket=podman_socket,
            rootless_engines=rootless_engine,
            proc=proc,
            ready_fd=ready_fd,
        )
    )


@click.group()
def _group() -> None:
    """The node agent without the `inborn` command."""


_group.add_command(agent_run)


def main() -> int:
    """Run the command; 0 done, 1 refused or failed, 2 usage."""
    import sys

    from inborn.errors import InbornError

    try:
        _group(standalone_mode=False)
    except InbornError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 1
    return 0
