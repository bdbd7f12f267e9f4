"""uvicorn over the library: `uvicorn.run(app, **uvicorn_options(source, authorize))`.

The application finds the peer in `scope["extensions"]["tls"]["spiffe_id"]`, a `SpiffeId`, for HTTP and for WebSockets:
uvicorn has no TLS extension of its own (ASGI's), so the protocol class is given one. Needs uvicorn 0.54 or later, which
takes a factory of contexts.
"""

from __future__ import annotations

import importlib
from typing import Any

from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.tls.context import server_context
from inborn._internal.verification.freshness import DEFAULT_FRESHNESS, FreshnessPolicy
from inborn._internal.verification.verify import Authorizer

__all__ = ["uvicorn_options"]


def uvicorn_options(
    source: IdentitySource, authorize: Authorizer, *, freshness: FreshnessPolicy = DEFAULT_FRESHNESS
) -> dict[str, Any]:
    """Arguments of `uvicorn.run` and `uvicorn.Config`: TLS that follows the source, and the peer in the scope."""
    context = server_context(source, authorize, freshness=freshness)
    return {
        "ssl_context_factory": lambda config, default: context,
        "http": _with_peer(importlib.import_module("uvicorn.protocols.http.h11_impl").H11Protocol),
    }


def _with_peer(protocol: Any) -> Any:
    """The protocol class, whose application sees the peer of its own connection."""

    class InbornProtocol(protocol):  # type: ignore[misc]
        app: Any

        def connection_made(self, transport: Any) -> None:
            ssl_object = transport.get_extra_info("ssl_object")
            self.app = _peer_in_scope(self.app, getattr(ssl_object, "spiffe_id", None))
            super().connection_made(transport)

    return InbornProtocol


def _peer_in_scope(app: Any, spiffe_id: Any) -> Any:
    async def with_peer(scope: Any, receive: Any, send: Any) -> None:
        extensions = dict(scope.get("extensions") or {})
        extensions["tls"] = {**extensions.get("tls", {}), "spiffe_id": spiffe_id}
        await app({**scope, "extensions": extensions}, receive, send)

    return with_peer
