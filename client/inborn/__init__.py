"""Daemons and containers start up with an identity.

    with inborn.X509Source() as source:
        context = inborn.server_context(source, inborn.authorize_any())

What stands here is all that most programs need; the modules below say more. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inborn import errors as errors
    from inborn.connections import live_peers as live_peers
    from inborn.daemon import enroll as enroll
    from inborn.freshness import FreshnessPolicy as FreshnessPolicy
    from inborn.grpc_client import grpc_channel as grpc_channel
    from inborn.grpc_server import grpc_aio_server_interceptor as grpc_aio_server_interceptor
    from inborn.grpc_server import grpc_server_credentials as grpc_server_credentials
    from inborn.grpc_server import grpc_server_interceptor as grpc_server_interceptor
    from inborn.grpc_server import peer_identity as peer_identity
    from inborn.source import X509Source as X509Source
    from inborn.spiffeid import SpiffeId as SpiffeId
    from inborn.spiffeid import TrustDomain as TrustDomain
    from inborn.spiffeid import parse_spiffe_id as parse_spiffe_id
    from inborn.tls import client_context as client_context
    from inborn.tls import server_context as server_context
    from inborn.verify import authorize_any as authorize_any
    from inborn.verify import authorize_id as authorize_id
    from inborn.verify import authorize_member_of as authorize_member_of
    from inborn.verify import authorize_one_of as authorize_one_of

_HOME = {
    "FreshnessPolicy": "freshness",
    "SpiffeId": "spiffeid",
    "TrustDomain": "spiffeid",
    "X509Source": "source",
    "authorize_any": "verify",
    "authorize_id": "verify",
    "authorize_member_of": "verify",
    "authorize_one_of": "verify",
    "client_context": "tls",
    "enroll": "daemon",
    "grpc_aio_server_interceptor": "grpc_server",
    "grpc_channel": "grpc_client",
    "grpc_server_credentials": "grpc_server",
    "grpc_server_interceptor": "grpc_server",
    "live_peers": "connections",
    "parse_spiffe_id": "spiffeid",
    "peer_identity": "grpc_server",
    "server_context": "tls",
}

__all__ = [
    "FreshnessPolicy",
    "SpiffeId",
    "TrustDomain",
    "X509Source",
    "authorize_any",
    "authorize_id",
    "authorize_member_of",
    "authorize_one_of",
    "client_context",
    "enroll",
    "errors",
    "grpc_aio_server_interceptor",
    "grpc_channel",
    "grpc_server_credentials",
    "grpc_server_interceptor",
    "live_peers",
    "parse_spiffe_id",
    "peer_identity",
    "server_context",
]


def __getattr__(name: str) -> object:
    if name == "errors":
        return importlib.import_module("inborn.errors")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'inborn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"inborn.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
