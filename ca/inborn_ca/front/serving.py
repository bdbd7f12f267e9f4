"""The handlers of one port: what happens to every call before and after the work itself.

In this order: is there room (`Admission`), who calls (`Authenticate`), may they (`access`), is it the method's message;
then the work; then the answer, or the error with its type. Nobody is ever left with a bare CANCELLED.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from inborn._internal.rpc.services import abort_aio
from inborn._internal.wire.access import CallerClass, CallNotAllowed, check
from inborn._internal.wire.methods import RpcMethod, rpc_methods
from inborn.errors import DeniedError, InbornError, InternalError, RequestError, UnavailableError
from inborn_ca.front.admission import Admission
from inborn_ca.front.caller import Caller, origin_of
from inborn_ca.front.exchanges import Context, Exchanges

__all__ = ["Context", "Observer", "Port", "StreamWork", "UnaryWork"]

MAX_TIME = 30.0  # seconds a unary call may take, also when its caller has set no deadline or a longer one

log = logging.getLogger(__name__)

Authenticate = Callable[[Context], Caller]
UnaryWork = Callable[[Any, Caller, float], Awaitable[bytes]]
"""(request message, caller, seconds left) -> serialized answer."""
StreamWork = Callable[[Context, Caller], Awaitable[None]]
"""Reads from the context and writes to it, in bytes."""


class Observer:
    """Is told of every call; counts and reports."""

    def finished(self, method: str, seconds: float, error: InbornError | None) -> None:
        """A call has ended."""

    def denied(self, method: str, caller: Caller, error: DeniedError) -> None:
        """The front itself refused a caller."""


class Port:
    """Makes gRPC handlers that pass every call through the same gate."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        admission: Admission,
        observer: Observer,
        check_again: Callable[[Caller], None] = lambda caller: None,
    ) -> None:
        self._authenticate = authenticate
        self._check_again = check_again
        self._admission = admission
        self._observer = observer
        self.exchanges = Exchanges()
        self._closing: InbornError | None = None

    def close(self, error: InbornError) -> None:
        """Refuse every new call with this, and end the exchanges."""
        self._closing = error
        self.exchanges.end_all(error)

    def sweep(self) -> None:
        """End the exchanges whose callers may not call any more."""
        self.exchanges.sweep(self._check_again)

    def handler(
        self,
        service: str,
        unary: Mapping[str, UnaryWork],
        streams: Mapping[str, StreamWork] | None = None,
        exchanges: Mapping[str, UnaryWork] | None = None,
    ) -> grpc.GenericRpcHandler:
        """The handler of a service named in full. An RPC without work answers UNIMPLEMENTED.

        An exchange is a stream of requests, each of which is worked on as a unary call is.
        """
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in rpc_methods(service):
            name = method.name.rpartition("/")[2]
            if name in unary:
                behaviour: Any = self._unary(method, unary[name])
                handlers[name] = grpc.unary_unary_rpc_method_handler(behaviour)
            elif streams and name in streams:
                behaviour = self._stream(method, streams[name])
                handlers[name] = grpc.stream_stream_rpc_method_handler(behaviour)
            elif exchanges and name in exchanges:
                behaviour = self._exchange(method, exchanges[name])
                handlers[name] = grpc.stream_stream_rpc_method_handler(behaviour)
        return grpc.method_handlers_generic_handler(service, handlers)

    def _unary(self, method: RpcMethod, work: UnaryWork) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def answer(body: bytes, context: Context) -> bytes:
            began = time.monotonic()
            try:
                with self._admission.call(len(body)):
                    caller = self._admit(method, context)
                    remaining = cast(float | None, context.time_remaining())  # None: no deadline
                    seconds = MAX_TIME if remaining is None else min(MAX_TIME, max(remaining, 0.0))
                    response = await work(_parse(method, body), caller, seconds)
            except Exception as e:
                await self._refuse(method, context, began, e)
                raise  # never reached: a refusal raises
            self._observer.finished(method.name, time.monotonic() - began, None)
            return response

        return answer

    def _stream(self, method: RpcMethod, work: StreamWork) -> Callable[[Any, Context], Awaitable[None]]:
        async def converse(_requests: Any, context: Context) -> None:
            began = time.monotonic()
            try:
                with self._admission.stream():
                    caller = self._admit(method, context)
                    try:
                        await work(context, caller)
                    except CallNotAllowed as e:  # the signer knows more of a caller than its certificate says
                        self._observer.denied(method.name, caller, e)
                        raise
            except Exception as e:
                await self._refuse(method, context, began, e)
            self._observer.finished(method.name, time.monotonic() - began, None)

        return converse

    def _exchange(self, method: RpcMethod, work: UnaryWork) -> Callable[[Any, Context], Awaitable[None]]:
        async def converse(_requests: Any, context: Context) -> None:
            began = time.monotonic()
            try:
                with self._admission.stream():
                    caller = self._admit(method, context)
                    with self.exchanges.open(caller, context) as exchange:
                        while (body := await exchange.next()) is not None:
                            began = time.monotonic()
                            with self._admission.call(len(body)):
                                self._check_again(caller)
                                response = await work(_parse(method, body), caller, MAX_TIME)
                            self._observer.finished(method.name, time.monotonic() - began, None)
                            await exchange.answer(response)
            except Exception as e:
                await self._refuse(method, context, began, e)

        return converse

    def _admit(self, method: RpcMethod, context: Context) -> Caller:
        if self._closing is not None:
            raise self._closing
        caller = Caller(kind=CallerClass.ANONYMOUS, origin=origin_of(context.peer()))
        try:
            caller = self._authenticate(context)
            check(method.name, caller.kind)
        except DeniedError as e:
            self._observer.denied(method.name, caller, e)
            raise
        return caller

    async def _refuse(self, method: RpcMethod, context: Context, began: float, error: Exception) -> None:
        if isinstance(error, InbornError):
            ours = error
        elif isinstance(error, grpc.aio.AbortError | grpc.RpcError):
            raise error
        elif isinstance(error, asyncio.InvalidStateError | grpc.aio.UsageError):
            ours = UnavailableError("connection has ended")
        else:
            log.exception("call.failed method=%s", method.name, exc_info=error)
            ours = InternalError(f"{method.name} failed")
        self._observer.finished(method.name, time.monotonic() - began, ours)
        await abort_aio(context, ours)


def _parse(method: RpcMethod, body: bytes) -> Message:
    message = method.request()
    try:
        message.ParseFromString(body)
    except DecodeError as e:
        raise RequestError(f"request of {method.name} is not a {method.request.DESCRIPTOR.name}") from e
    return message
