"""`inborn config show`: configuration for servers of others, without the holes through which the revoked come in."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click

from inborn._internal.address import parse_target
from inborn.errors import RequestError
from inborn_cli.options import example
from inborn_cli.output import print_data

__all__ = ["configuration", "show"]

_TEMPLATES = {
    "nginx": "nginx.conf",
    "haproxy": "haproxy-http.cfg",
    "haproxy-tcp": "haproxy-tcp.cfg",
    "postgresql": "postgresql.conf",
    "envoy": "envoy.yaml",
    "envoy-svid": "envoy-sds-svid.yaml",
    "envoy-trust": "envoy-sds-trust.yaml",
}
_PLACE = re.compile("@([A-Z_]+)@")
# Without anything that has a meaning of its own in one of these languages.
_VALUE = re.compile(r"[A-Za-z0-9/._:\[\]-]{1,300}")


@click.command(
    help="Print commented configuration for a server that is not Inborn's: mutual TLS from the files of "
    "`inborn files`, no session resumption, CRLs of the whole chain, and what ends open connections.\n\n"
    + example("inborn config show nginx --listen 0.0.0.0:443 > /etc/nginx/inborn.conf")
)
@click.argument("server", type=click.Choice(["nginx", "haproxy", "postgresql", "envoy"]))
@click.option("--dir", "directory", metavar="DIR", help="Where `inborn files` writes (default: /run/inborn-SERVER).")
@click.option("--listen", metavar="HOST:PORT", help="Where the server listens.")
@click.option("--backend", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True, help="What is behind it.")
@click.option("--auth-socket", metavar="PATH", help="nginx: where `inborn files` answers (default: DIR.auth.sock).")
@click.option("--haproxy-socket", metavar="PATH", default="/run/haproxy/admin.sock", show_default=True)
@click.option("--tcp", "is_tcp", is_flag=True, help="HAProxy: TCP mode instead of HTTP.")
@click.option("--sds", type=click.Choice(["svid", "trust"]), help="Envoy: the file of this secret instead.")
@click.option("--sds-dir", metavar="DIR", default="/etc/envoy", show_default=True, help="Envoy: where those files lie.")
def show(
    server: str,
    directory: str | None,
    listen: str | None,
    backend: str,
    auth_socket: str | None,
    haproxy_socket: str,
    is_tcp: bool,
    sds: str | None,
    sds_dir: str,
) -> None:
    if sds is not None and server != "envoy":
        raise RequestError(f"--sds is for envoy, not for {server}")
    if is_tcp and server != "haproxy":
        raise RequestError(f"--tcp is for haproxy, not for {server}")
    where = str(Path(directory or f"/run/inborn-{server}").absolute())
    default_port = 5432 if server == "postgresql" else 8443
    text = configuration(
        "haproxy-tcp" if is_tcp else f"{server}-{sds}" if sds else server,
        directory=where,
        listen=listen or f"127.0.0.1:{default_port}",
        backend=backend,
        auth_socket=str(Path(auth_socket or f"{where}.auth.sock").absolute()),
        haproxy_socket=str(Path(haproxy_socket).absolute()),
        sds_directory=str(Path(sds_dir).absolute()),
    )
    print_data(text.rstrip("\n"))


def configuration(
    name: str, *, directory: str, listen: str, backend: str, auth_socket: str, haproxy_socket: str, sds_directory: str
) -> str:
    """A template filled in. Raises `RequestError` for a value that would be more than a value there."""
    values = {
        "DIR": directory,
        "LISTEN": listen,
        "BACKEND": backend,
        "AUTH_SOCKET": auth_socket,
        "HAPROXY_SOCKET": haproxy_socket,
        "SDS_DIR": sds_directory,
    }
    for option in ("LISTEN", "BACKEND"):
        address = parse_target(values[option])
        values |= {option: str(address), f"{option}_HOST": address.host, f"{option}_PORT": str(address.port)}
    for value in values.values():
        if _VALUE.fullmatch(value) is None:
            raise RequestError(f"cannot stand in a configuration as it is: {value[:100]!a}")
    template = (files("inborn_cli.servers") / "configuration" / _TEMPLATES[name]).read_text(encoding="utf-8")
    return _PLACE.sub(lambda match: values[match[1]], template)
