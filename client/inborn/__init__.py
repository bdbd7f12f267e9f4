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
    from inborn._internal.grpc_adapter.channel import grpc_channel as grpc_channel
    from inborn._internal.grpc_adapter.interceptor import grpc_aio_server_interceptor as grpc_aio_server_interceptor
    from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials as grpc_server_credentials
    from inborn._internal.grpc_adapter.interceptor import grpc_server_interceptor as grpc_server_interceptor
    from inborn._internal.grpc_adapter.interceptor import peer_identity as peer_identity
    from inborn._internal.source.x509_source import X509Source as X509Source
    from inborn._internal.spiffe.spiffe_id import SpiffeId as SpiffeId
    from inborn._internal.spiffe.spiffe_id import TrustDomain as TrustDomain
    from inborn._internal.spiffe.spiffe_id import parse_spiffe_id as parse_spiffe_id
    from inborn._internal.tls.connections import live_peers as live_peers
    from inborn._internal.tls.context import client_context as client_context
    from inborn._internal.tls.context import server_context as server_context
    from inborn._internal.verification.freshness import FreshnessPolicy as FreshnessPolicy
    from inborn._internal.verification.verify import authorize_any as authorize_any
    from inborn._internal.verification.verify import authorize_id as authorize_id
    from inborn._internal.verification.verify import authorize_member_of as authorize_member_of
    from inborn._internal.verification.verify import authorize_one_of as authorize_one_of
    from inborn_member.enrolled_source import enroll as enroll

_HOME = {
    "FreshnessPolicy": "inborn._internal.verification.freshness",
    "SpiffeId": "inborn._internal.spiffe.spiffe_id",
    "TrustDomain": "inborn._internal.spiffe.spiffe_id",
    "X509Source": "inborn._internal.source.x509_source",
    "authorize_any": "inborn._internal.verification.verify",
    "authorize_id": "inborn._internal.verification.verify",
    "authorize_member_of": "inborn._internal.verification.verify",
    "authorize_one_of": "inborn._internal.verification.verify",
    "client_context": "inborn._internal.tls.context",
    "enroll": "inborn_member.enrolled_source",
    "grpc_aio_server_interceptor": "inborn._internal.grpc_adapter.interceptor",
    "grpc_channel": "inborn._internal.grpc_adapter.channel",
    "grpc_server_credentials": "inborn._internal.grpc_adapter.interceptor",
    "grpc_server_interceptor": "inborn._internal.grpc_adapter.interceptor",
    "live_peers": "inborn._internal.tls.connections",
    "parse_spiffe_id": "inborn._internal.spiffe.spiffe_id",
    "peer_identity": "inborn._internal.grpc_adapter.interceptor",
    "server_context": "inborn._internal.tls.context",
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
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
