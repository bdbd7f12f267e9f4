"""`inborn up`, `inborn ca run` and `inborn ca restore`.

The first two check what was asked for and then become the supervisor: the same process, started anew without click and
all else that it will not need.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from inborn._internal.address import check_host
from inborn._internal.host import paths
from inborn._internal.spiffe.spiffe_id import parse_trust_domain
from inborn.errors import RequestError
from inborn_cli.options import DURATION, data_dir_option, example, json_option, whole_seconds
from inborn_cli.output import print_data, print_document
from inborn_cli.talk import say

__all__ = ["ca_restore", "ca_run", "up"]

C = TypeVar("C", bound=Callable[..., Any])

_PORT = click.IntRange(0, 65535)
_PATH = click.Path(path_type=Path)
_MAX_PASSPHRASE = 1024  # octets, as for `ca backup`

_CA_OPTIONS = (
    click.option(
        "--trust-domain",
        metavar="NAME",
        envvar="INBORN_TRUST_DOMAIN",
        default="",
        help="Name of the trust domain, at the first start (default: a random one, which is kept).",
    ),
    click.option(
        "--bootstrap-port",
        type=_PORT,
        envvar="INBORN_BOOTSTRAP_PORT",
        default=0,
        help="Port for enrollment (default: a free one, which is kept).",
    ),
    click.option(
        "--api-port",
        type=_PORT,
        envvar="INBORN_API_PORT",
        default=0,
        help="Port for agents and daemons (default: a free one, which is kept).",
    ),
    click.option(
        "--crl-port",
        type=_PORT,
        envvar="INBORN_CRL_PORT",
        default=0,
        help="Port for CRLs over plain HTTP (default: a free one, which is kept).",
    ),
    click.option(
        "--advertise",
        metavar="HOST",
        envvar="INBORN_ADVERTISE",
        default="",
        help="How other machines reach this one (default: as they have dialled it).",
    ),
    click.option(
        "--min-ttl",
        type=DURATION,
        envvar="INBORN_MIN_TTL",
        help="Shortest life that an entry may ask for (default: 1m).",
    ),
    click.option(
        "--metrics", is_flag=True, envvar="INBORN_METRICS", help="Serve Prometheus metrics on loopback, on kept ports."
    ),
    click.option(
        "--signer-user",
        metavar="USER",
        envvar="INBORN_SIGNER_USER",
        default="",
        help="As root: whom the signer runs as (default: inborn-ca, if there is such a user).",
    ),
    click.option(
        "--front-user",
        metavar="USER",
        envvar="INBORN_FRONT_USER",
        default="",
        help="As root: whom the network side runs as (default: inborn-front, if there is such a user).",
    ),
)


def _ca_options(command: C) -> C:
    for option in reversed(_CA_OPTIONS):
        command = option(command)
    return data_dir_option(command)


def _listen_option(default: str, meaning: str) -> Callable[[C], C]:
    return click.option(
        "--listen", metavar="HOST", envvar="INBORN_LISTEN", default=default, show_default=True, help=meaning
    )


@click.command(
    help="Run CA and agent for this machine under one command, in the foreground.\n\n"
    "The Workload API's address goes to standard output. Started again it goes on where it was.\n\n"
    + example("inborn up --trust-domain example.org")
)
@_ca_options
@_listen_option("127.0.0.1", "Address of this machine that the CA's ports are opened on.")
@click.option(
    "--socket",
    type=_PATH,
    envvar="INBORN_SOCKET",
    help="The Workload API's socket (default: in /run/inborn, $XDG_RUNTIME_DIR/inborn or the data directory).",
)
@click.option(
    "--docker-socket",
    metavar="PATH",
    envvar="INBORN_DOCKER_SOCKET",
    help="The container engine's socket; empty: none (default: /var/run/docker.sock, if root owns it).",
)
def up(socket: Path | None, docker_socket: str | None, **options: Any) -> None:
    arguments = ["--with-agent"]
    if socket is not None:
        arguments += ["--socket", str(socket.absolute())]
    if docker_socket is not None:
        arguments += ["--docker-socket", docker_socket]
    _become_supervisor(arguments, **options)


@click.command(
    help="Run the certificate authority of a network, in the foreground.\n\n"
    "The address that agents and daemons join at goes to standard output.\n\n"
    + example("inborn ca run --trust-domain example.org --advertise ca.example.org --bootstrap-port 8443")
)
@_ca_options
@_listen_option("0.0.0.0", "Address of this machine that the ports are opened on.")  # noqa: S104 -- a CA of a network
def ca_run(**options: Any) -> None:
    _become_supervisor([], **options)


def _become_supervisor(
    arguments: list[str],
    *,
    data_dir: Path | None,
    trust_domain: str,
    listen: str,
    bootstrap_port: int,
    api_port: int,
    crl_port: int,
    advertise: str,
    min_ttl: dt.timedelta | None,
    metrics: bool,
    signer_user: str,
    front_user: str,
) -> None:
    named = [port for port in (bootstrap_port, api_port, crl_port) if port]
    if len(set(named)) < len(named):
        raise RequestError(f"bootstrap, API and CRLs cannot share a port: {', '.join(map(str, named))}")
    arguments = [*arguments, "--data-dir", str(paths.data_dir(data_dir)), "--listen", check_host(listen)]
    arguments += ["--bootstrap-port", str(bootstrap_port), "--api-port", str(api_port)]
    arguments += ["--crl-port", str(crl_port)]
    if trust_domain:
        arguments += ["--trust-domain", parse_trust_domain(trust_domain).name]
    if advertise:
        arguments += ["--advertise", check_host(advertise)]
    if min_ttl is not None:
        arguments += ["--min-ttl", str(_positive(whole_seconds(min_ttl)))]
    if metrics:
        arguments += ["--metrics"]
    arguments += [f"--signer-user={signer_user}", f"--front-user={front_user}"]
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a module in the current directory must not be taken for one of ours.
    command = [sys.executable, "-P", "-m", "inborn_ca.supervisor", *arguments]
    os.execv(sys.executable, command)  # noqa: S606 -- a list of arguments, and no shell


def _positive(seconds: int) -> int:
    if seconds < 1:
        raise RequestError("shortest life of a certificate is one second")
    return seconds


@click.command(
    help="Make a CA from a backup, in a data directory that has none; the next 'inborn up' or 'ca run' starts it.\n\n"
    "It has a new log and a new issuing authority, and no open tokens.\n\n"
    + example("inborn ca restore /var/backups/inborn.backup --passphrase-file /root/inborn.pass")
)
@click.argument("file", type=_PATH)
@click.option(
    "--passphrase-file", type=click.File("rb"), help="The passphrase that the keys were encrypted with; - is stdin."
)
@json_option
@data_dir_option
def ca_restore(file: Path, passphrase_file: IO[bytes] | None, is_json: bool, data_dir: Path | None) -> None:
    from inborn_ca.signer.restore import restore
    from inborn_ca.supervisor.data_directory import DataDirectory

    passphrase = b""
    if passphrase_file is not None:
        passphrase = passphrase_file.read(_MAX_PASSPHRASE + 3).removesuffix(b"\n").removesuffix(b"\r")
        if not 0 < len(passphrase) <= _MAX_PASSPHRASE:
            raise RequestError(f"passphrase is empty or longer than {_MAX_PASSPHRASE} octets")
    directory = DataDirectory.open(paths.data_dir(data_dir), is_shared=False)
    part = directory.part("ca", (os.geteuid(), os.getegid()))
    restored = restore(file.absolute(), part, passphrase=passphrase, clock=lambda: dt.datetime.now(dt.UTC))
    directory.trust_domain_is_kept()
    if is_json:
        print_document(
            {
                "trust_domain": restored.trust_domain,
                "log_id": restored.log_id.hex(),
                "former_log_id": restored.former_log_id.hex(),
                "keys": restored.keys,
                "tokens_ended": restored.tokens_ended,
            }
        )
        return
    print_data(restored.trust_domain)
    say(f"restored into {directory.path}: a new log {restored.log_id.hex()}, {restored.tokens_ended} tokens ended")
