"""gRPC servers that follow a source: credentials, and an interceptor that knows who calls.

    server = grpc.server(pool, interceptors=[grpc_server_interceptor(source, authorize)])
    server.add_secure_port("0.0.0.0:8443", grpc_server_credentials(source))

Both are needed. gRPC's own TLS believes every bundle for every trust domain and knows no revocation; the interceptor
verifies the caller of each call against the bundle of its *own* trust domain, the revocations and the authorizer, and
ends the open calls of a caller that is revoked or expires. `peer_identity(context)` says who it is.

For `grpc.aio` servers there is `grpc_aio_server_interceptor`. A server of Inborn's own passes an authorizer of its own
that says yes to `/inborn/...`; the ready-made ones do not.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import logging
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from inborn._internal.grpc_adapter.call_ending import end_call
from inborn._internal.grpc_adapter.callers import Callers
from inborn._internal.grpc_adapter.credentials import Presented, following_credentials
from inborn._internal.rpc.services import abort, abort_aio
from inborn._internal.source.background import background_loop
from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.spiffe.x509_svid import CertificateFacts
from inborn._internal.tls.connections import Connection
from inborn._internal.verification.freshness import DEFAULT_FRESHNESS, FreshnessPolicy
from inborn._internal.verification.verify import Authorizer
from inborn.errors import InbornError, UnauthenticatedError

__all__ = [
    "AioIdentityInterceptor",
    "IdentityInterceptor",
    "grpc_aio_server_interceptor",
    "grpc_server_credentials",
    "grpc_server_interceptor",
    "peer_identity",
]

log = logging.getLogger(__name__)

_REMEMBERED_METHODS = 1024  # methods whose guarded handler is kept; a server has dozens
_NO_HANDLERS = None, None
_END_AFTER = 0.02  # seconds that a synchronous handler has to notice by itself that its caller was refused

_aio_peer: contextvars.ContextVar[CertificateFacts | None] = contextvars.ContextVar("inborn_peer", default=None)
_sync_peers: weakref.WeakKeyDictionary[object, CertificateFacts] = weakref.WeakKeyDictionary()


def grpc_server_credentials(source: IdentitySource) -> grpc.ServerCredentials:
    """Credentials that present the source's newest identity and demand a certificate of every client.

    A change is seen by the next handshake. Between two changes sessions can be resumed, since gRPC's servers hand out
    tickets and cannot be told not to; the interceptor verifies the caller of each call, resumed or not. Raises
    `NoIdentity` if the source has none yet; when it loses its identity later, handshakes go on with the last one, and
    the interceptor refuses the calls.
    """

    def present() -> Presented:
        snapshot = source.snapshot()
        return snapshot.svid(dt.datetime.now(dt.UTC)), tuple(snapshot.bundles.values())

    return following_credentials(present, is_mutual=True)


def grpc_server_interceptor(
    source: IdentitySource, authorize: Authorizer, *, freshness: FreshnessPolicy = DEFAULT_FRESHNESS
) -> IdentityInterceptor:
    """The interceptor for a `grpc.server`.

    `freshness` says what happens when the CA has not been heard for long; refused calls end with UNAVAILABLE.
    """
    return IdentityInterceptor(source, authorize, freshness=freshness)


def grpc_aio_server_interceptor(
    source: IdentitySource, authorize: Authorizer, *, freshness: FreshnessPolicy = DEFAULT_FRESHNESS
) -> AioIdentityInterceptor:
    """The interceptor for a `grpc.aio.server` whose handlers are coroutines or async generators.

    `freshness` says what happens when the CA has not been heard for long; refused calls end with UNAVAILABLE.
    """
    return AioIdentityInterceptor(source, authorize, freshness=freshness)


def peer_identity(context: Any) -> CertificateFacts:
    """Who calls, inside a method of a server with an interceptor of this module: `.spiffe_id`, `.serial` and so on.

    Raises `UnauthenticatedError` where no interceptor has verified the caller.
    """
    peer = _aio_peer.get()
    if peer is None:
        try:
            peer = _sync_peers.get(context)
        except TypeError:
            peer = None
    if peer is None:
        raise UnauthenticatedError("caller was not verified: the server lacks the interceptor")
    return peer


# -- synchronous -------------------------------------------------------------------------------------------------------


class IdentityInterceptor(grpc.ServerInterceptor):
    """See `grpc_server_interceptor`."""

    def __init__(
        self,
        source: IdentitySource,
        authorize: Authorizer,
        *,
        freshness: FreshnessPolicy = DEFAULT_FRESHNESS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callers = Callers(source, authorize, freshness, monotonic)
        self._guarded: dict[str, tuple[Any, Any]] = {}

    def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known, guarded = self._guarded.get(method, _NO_HANDLERS)
        if known is not handler:
            guarded = self._guard(handler)
            if len(self._guarded) >= _REMEMBERED_METHODS:
                self._guarded.clear()
            self._guarded[method] = handler, guarded
        return guarded

    def _guard(self, handler: Any) -> Any:
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            guarded: Any = self._streaming(behaviour, handler.request_streaming)
        else:
            behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
            guarded = self._unary(behaviour, handler.request_streaming)
        return _like(handler, guarded)

    def _unary(self, behaviour: Any, has_stream: bool) -> Callable[[Any, grpc.ServicerContext], Any]:
        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            call = _SyncCall(self._callers, context)
            try:
                response = behaviour(call.watched(request) if has_stream else request, context)
            except _CallerRefused:
                response = None
            finally:
                call.leave()
            call.check()
            return response

        return guarded

    def _streaming(self, behaviour: Any, has_stream: bool) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
        def guarded(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            call = _SyncCall(self._callers, context)
            try:
                for response in behaviour(call.watched(request) if has_stream else request, context):
                    call.check()
                    yield response
            except _CallerRefused:
                pass
            finally:
                call.leave()
            call.check()

        return guarded


class _CallerRefused(Exception):
    """Leaves a handler that waits for requests of a caller that was refused meanwhile."""


class _SyncCall:
    """One call of a synchronous server. A refused caller's call is aborted by its own thread where that runs, and
    ended from outside shortly after where it waits."""

    def __init__(self, callers: Callers, context: grpc.ServicerContext) -> None:
        self._callers = callers
        self._context = context
        self._refusal: InbornError | None = None
        self._is_over = False
        try:
            self._connection = callers.enter(context.auth_context(), self._refuse)
        except InbornError as e:
            log.warning("call refused reason=%s", e)
            abort(context, e)
        _sync_peers[context] = self._connection.facts

    def _refuse(self, reason: InbornError) -> None:
        self._refusal = reason
        loop = background_loop()
        loop.call_soon_threadsafe(loop.call_later, _END_AFTER, self._end)

    def _end(self) -> None:
        if not self._is_over and self._refusal is not None:
            end_call(self._context, self._refusal)

    def check(self) -> None:
        """Abort the call if its caller was refused."""
        if self._refusal is not None:
            self._is_over = True
            abort(self._context, self._refusal)

    def watched(self, requests: Iterator[Any]) -> Iterator[Any]:
        """The requests, as long as their sender may be listened to."""
        for request in requests:
            if self._refusal is not None:
                raise _CallerRefused
            yield request

    def leave(self) -> None:
        self._callers.leave(self._connection)
        self._is_over = self._refusal is None


# -- asyncio -----------------------------------------------------------------------------------------------------------


class AioIdentityInterceptor(grpc.aio.ServerInterceptor):
    """See `grpc_aio_server_interceptor`."""

    def __init__(
        self,
        source: IdentitySource,
        authorize: Authorizer,
        *,
        freshness: FreshnessPolicy = DEFAULT_FRESHNESS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callers = Callers(source, authorize, freshness, monotonic)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            guarded: Any = self._streaming(behaviour)
        else:
            behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
            guarded = self._unary(behaviour)
        return _like(handler, guarded)

    def _unary(self, behaviour: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        async def guarded(request: Any, context: Any) -> Any:
            call = await self._enter(context)
            try:
                return await behaviour(request, context)
            finally:
                call.leave()

        return guarded

    def _streaming(self, behaviour: Any) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
            call = await self._enter(context)
            try:
                responses = behaviour(request, context)
                if hasattr(responses, "__aiter__"):
                    async for response in responses:
                        yield response
                else:
                    await responses  # a handler that writes by itself
            finally:
                call.leave()

        return guarded

    async def _enter(self, context: Any) -> _AioCall:
        call = _AioCall(self._callers, context)
        try:
            call.enter()
        except InbornError as e:
            log.warning("call refused reason=%s", e)
            await abort_aio(context, e)
        return call


class _AioCall:
    """One call of an aio server. A refused caller's call gets its status first and only then its task is cancelled: a
    task that is cancelled alone sends no status, and the client would wait."""

    def __init__(self, callers: Callers, context: Any) -> None:
        self._callers = callers
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._ending: asyncio.Task[None] | None = None
        self._connection: Connection | None = None

    def enter(self) -> None:
        self._connection = self._callers.enter(self._context.auth_context(), self._refuse)
        _aio_peer.set(self._connection.facts)

    def leave(self) -> None:
        if self._connection is not None:
            self._callers.leave(self._connection)
            self._connection = None

    def _refuse(self, reason: InbornError) -> None:
        try:
            self._loop.call_soon_threadsafe(self._begin_end, reason)
        except RuntimeError:
            pass  # the loop was closed, and every call with it

    def _begin_end(self, reason: InbornError) -> None:
        if self._connection is not None:
            self._ending = self._loop.create_task(self._end(reason))

    async def _end(self, reason: InbornError) -> None:
        try:
            await abort_aio(self._context, reason)
        except grpc.aio.BaseError:
            pass  # how abort leaves; or the call has its status already
        if self._task is not None and self._connection is not None:
            self._task.cancel()


def _like(handler: Any, behaviour: Any) -> Any:
    """A handler of the same shape with another behaviour."""
    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
