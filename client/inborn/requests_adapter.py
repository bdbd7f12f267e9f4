"""requests over the library: `session.mount("https://", requests_adapter(source, authorize))`.

httpx and aiohttp need no adapter: they take `client_context(...)` as `verify=` and `ssl=`.
"""

from __future__ import annotations

import importlib
from typing import Any

from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.tls.context import client_context
from inborn._internal.verification.freshness import DEFAULT_FRESHNESS, FreshnessPolicy
from inborn._internal.verification.verify import Authorizer

__all__ = ["requests_adapter"]


def requests_adapter(
    source: IdentitySource, authorize: Authorizer, *, freshness: FreshnessPolicy = DEFAULT_FRESHNESS
) -> Any:
    """A `requests.adapters.HTTPAdapter` to servers that `authorize` says yes to; the host's name is not looked at.

    `verify=` and `cert=` of a request change nothing. A proxy is not verified by this adapter.
    """
    context = client_context(source, authorize, freshness=freshness)
    base: Any = importlib.import_module("requests.adapters").HTTPAdapter

    class InbornAdapter(base):  # type: ignore[misc]
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, assert_hostname=False, **kwargs)

        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
            host, pool = super().build_connection_pool_key_attributes(request, True, None)
            return host, {**pool, "ssl_context": context, "assert_hostname": False, "cert_reqs": "CERT_REQUIRED"}

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Nothing: the context verifies."""

    return InbornAdapter()
