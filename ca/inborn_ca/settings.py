"""Settings of the CA: what `inborn up` and `inborn ca run` were told, and what the supervisor tells each child.

`CaSettings` goes from the command to the supervisor; `SignerStart` and `FrontStart` go from there to the children, as
documents over a descriptor. Each is checked when it is made, on either side. Loaded by the supervisor: no cryptography,
protobuf or gRPC.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from inborn._internal.address import Address, check_host
from inborn._internal.settings.agent_options import LOG_LEVEL, AgentOptions, LogLevel
from inborn._internal.settings.flag import Flag
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn.errors import RequestError

__all__ = ["CaSettings", "FrontSettings", "FrontStart", "SignerSettings", "SignerStart"]

_LAST_PORT = 65535
_SHORTEST_LIFE = dt.timedelta(seconds=1)  # times in a certificate are whole seconds (RFC 5280 4.1.2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaSettings:
    """What was asked for. Raises `RequestError` for what cannot be."""

    data_dir: Path
    trust_domain: Annotated[
        str,
        Flag(
            "--trust-domain",
            metavar="NAME",
            env="INBORN_TRUST_DOMAIN",
            help="Name of the trust domain, at the first start (default: a random one, which is kept).",
        ),
    ] = ""
    bootstrap_port: Annotated[
        int,
        Flag(
            "--bootstrap-port",
            env="INBORN_BOOTSTRAP_PORT",
            help="Port for enrollment (default: a free one, which is kept).",
            most=_LAST_PORT,
        ),
    ] = 0
    api_port: Annotated[
        int,
        Flag(
            "--api-port",
            env="INBORN_API_PORT",
            help="Port for agents and daemons (default: a free one, which is kept).",
            most=_LAST_PORT,
        ),
    ] = 0
    crl_port: Annotated[
        int,
        Flag(
            "--crl-port",
            env="INBORN_CRL_PORT",
            help="Port for CRLs over plain HTTP (default: a free one, which is kept).",
            most=_LAST_PORT,
        ),
    ] = 0
    advertise: Annotated[
        str,
        Flag(
            "--advertise",
            metavar="HOST",
            env="INBORN_ADVERTISE",
            help="How other machines reach this one (default: as they have dialled it).",
        ),
    ] = ""
    min_ttl: Annotated[
        dt.timedelta,
        Flag("--min-ttl", env="INBORN_MIN_TTL", help="Shortest life that an entry may ask for (default: 1m)."),
    ] = dt.timedelta(minutes=1)
    metrics: Annotated[
        bool, Flag("--metrics", env="INBORN_METRICS", help="Serve Prometheus metrics on loopback, on kept ports.")
    ] = False
    signer_user: Annotated[
        str,
        Flag(
            "--signer-user",
            metavar="USER",
            env="INBORN_SIGNER_USER",
            help="As root: whom the signer runs as (default: inborn-ca, if there is such a user).",
        ),
    ] = ""
    front_user: Annotated[
        str,
        Flag(
            "--front-user",
            metavar="USER",
            env="INBORN_FRONT_USER",
            help="As root: whom the network side runs as (default: inborn-front, if there is such a user).",
        ),
    ] = ""
    listen: Annotated[
        str,
        Flag(
            "--listen",
            metavar="HOST",
            env="INBORN_LISTEN",
            help="Address of this machine that the CA's ports are opened on.",
        ),
    ] = "127.0.0.1"
    log_level: Annotated[LogLevel, LOG_LEVEL] = "info"
    agent: AgentOptions | None = None
    """Of the agent that runs beside the CA; None: there is none. The supervisor fills in where the CA is."""

    def __post_init__(self) -> None:
        if self.trust_domain:
            TrustDomain(self.trust_domain)
        check_host(self.listen)
        if self.advertise:
            check_host(self.advertise)
        ports = (self.bootstrap_port, self.api_port, self.crl_port)
        if not all(0 <= port <= _LAST_PORT for port in ports):
            raise RequestError(f"port is not from 0 to {_LAST_PORT}: {', '.join(map(str, ports))}")
        named = [port for port in ports if port]
        if len(set(named)) < len(named):
            raise RequestError(f"bootstrap, API and CRLs cannot share a port: {', '.join(map(str, named))}")
        _check_life(self.min_ttl)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerSettings:
    """Of the signer."""

    data_dir: Path
    trust_domain: str = ""
    """Empty: the one that its database has."""
    min_ttl: dt.timedelta = dt.timedelta(minutes=1)
    log_level: LogLevel = "info"

    def __post_init__(self) -> None:
        if self.trust_domain:
            TrustDomain(self.trust_domain)
        _check_life(self.min_ttl)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSettings:
    """Of the front: where to listen, and what others are told."""

    bootstrap: Address
    api: Address
    advertise: str = ""
    """Host name or address by which others reach this machine; empty: the one they dialled."""
    metrics: Address | None = None
    crl: Address | None = None
    """Where CRLs are served over plain HTTP; None: nowhere."""
    log_level: LogLevel = "info"

    def __post_init__(self) -> None:
        if self.advertise:
            check_host(self.advertise)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerStart:
    """One start of the signer: its settings, and the descriptors that it is given."""

    settings: SignerSettings
    front_fd: int
    """The signer's end of the socketpair to the front."""
    ready_fd: int | None = None
    """A pipe that is told when it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontStart:
    """One start of the front."""

    settings: FrontSettings
    signer_fd: int
    ready_fd: int | None = None


def _check_life(shortest: dt.timedelta) -> None:
    if shortest < _SHORTEST_LIFE:
        raise RequestError("shortest life of a certificate is one second")
