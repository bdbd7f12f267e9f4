"""gRPC services and stubs, made from protobuf's service descriptors: there is no generated gRPC code.

`service_handler` turns an object with a method for each RPC into a handler for a `grpc` or a `grpc.aio` server. Before
each call its guard is asked whether the caller may make it. What guard and method raise of `inborn.errors` reaches the
caller with its type, everything else as an internal error without its text.

`Stub` and `AioStub` call by the descriptor, give typed answers, raise `inborn.errors`, and ask for a deadline in every
unary call.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from inborn._internal.wire.messages import MAX_MESSAGE_SIZE, error_from_status, error_to_metadata
from inborn.errors import InbornError, InternalError, UnavailableError

__all__ = [
    "MESSAGE_LIMITS",
    "AioStream",
    "AioStub",
    "Guard",
    "Stub",
    "abort",
    "abort_aio",
    "error_from_rpc",
    "method_path",
    "service_handler",
    "status_code",
]

log = logging.getLogger(__name__)

MESSAGE_LIMITS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_SIZE),
    ("grpc.max_send_message_length", MAX_MESSAGE_SIZE),
)
"""Options for the channels that feeds come through; gRPC's own limit is 4 MiB, less than a large snapshot."""

Guard = Callable[[str, Any], None]
"""(full method name, context of the call) -> nothing, or raises why this caller may not make this call."""

Response = TypeVar("Response", bound=Message)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_code(error: InbornError) -> grpc.StatusCode:
    """The gRPC status code of an error."""
    return _CODES.get(error.status, grpc.StatusCode.INTERNAL)


def method_path(method: MethodDescriptor) -> str:
    """The full name as it stands in a request: `/inborn.v1.Authority/Issue`."""
    return f"/{method.containing_service.full_name}/{method.name}"


def abort(context: grpc.ServicerContext, error: InbornError) -> NoReturn:
    """End a call of a synchronous server with this error."""
    context.set_trailing_metadata(error_to_metadata(error))
    context.abort(status_code(error), error.message)
    raise AssertionError("abort has raised")


async def abort_aio(context: grpc.aio.ServicerContext[Any, Any], error: InbornError) -> NoReturn:
    """End a call of an aio server with this error. Raises gRPC's own exception, which must not be kept."""
    await context.abort(status_code(error), error.message, error_to_metadata(error))
    raise AssertionError("abort has raised")


def error_from_rpc(error: grpc.RpcError) -> InbornError:
    """The error that the other side of a failed call raised, or the one that stands for a call that did not arrive."""
    call: Any = error  # every failed call is an RpcError, and all but a few are a Call as well
    if not hasattr(call, "trailing_metadata"):
        return UnavailableError(f"call failed: {error}")
    code, details = call.code(), call.details()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else 2
    return error_from_status(number, details or str(code), tuple(call.trailing_metadata() or ()))


# -- servers -----------------------------------------------------------------------------------------------------------


def service_handler(service: ServiceDescriptor, implementation: object, guard: Guard) -> grpc.GenericRpcHandler:
    """Make the handler of a service. `implementation` has a method of each RPC's name, or does not offer that RPC.

    `guard` runs on the way into every call, before anything of `implementation` does. A method takes (request or
    request iterator, context); it is a coroutine or an async generator for an aio server, a function or a generator for
    a synchronous one. An RPC without a method answers UNIMPLEMENTED, whoever asks.
    """
    handlers = {}
    for method in service.methods:
        behaviour = getattr(implementation, method.name, None)
        if behaviour is not None:
            handlers[method.name] = _method_handler(method, behaviour, guard)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _method_handler(
    method: MethodDescriptor, behaviour: Callable[..., Any], guard: Guard
) -> grpc.RpcMethodHandler[Any, Any]:
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make: Any = kinds[method.client_streaming, method.server_streaming]
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        _translating(behaviour, method, guard),
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=_serialize,
    )
    return handler


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _translating(behaviour: Callable[..., Any], method: MethodDescriptor, guard: Guard) -> Callable[..., Any]:
    """The behaviour behind its guard, with what either raises of `inborn.errors` sent to the caller."""
    path = method_path(method)
    if inspect.isasyncgenfunction(behaviour):

        async def aio_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                guard(path, context)
                async for response in behaviour(request, context):
                    yield response
            except Exception as e:
                await abort_aio(context, _ours(e, path))

        return aio_stream
    if inspect.iscoroutinefunction(behaviour):

        async def aio_unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                guard(path, context)
                return await behaviour(request, context)
            except Exception as e:
                await abort_aio(context, _ours(e, path))

        return aio_unary
    if method.server_streaming:

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                guard(path, context)
                yield from behaviour(request, context)
            except Exception as e:
                abort(context, _ours(e, path))

        return stream

    def unary(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            guard(path, context)
            return behaviour(request, context)
        except Exception as e:
            abort(context, _ours(e, path))

    return unary


def _ours(error: Exception, path: str) -> InbornError:
    """The error as the caller may see it. gRPC's own (an abort inside the behaviour) is raised again."""
    if isinstance(error, InbornError):
        return error
    if isinstance(error, grpc.aio.AbortError | grpc.RpcError) or type(error) is Exception:
        raise error  # a plain Exception is how the synchronous server's abort() leaves a method
    log.exception("call failed method=%s", path)
    return InternalError(f"{path} failed")


# -- stubs -------------------------------------------------------------------------------------------------------------


class _Methods:
    """The methods of a service by name, with the multi-callable of each made once for a channel."""

    def __init__(self, channel: Any, service: ServiceDescriptor) -> None:
        self._channel = channel
        self._service = service
        self._callables: dict[str, Any] = {}

    def callable(self, name: str, response: type[Message]) -> Any:
        made = self._callables.get(name)
        if made is None:
            method: MethodDescriptor = self._service.methods_by_name[name]
            if GetMessageClass(method.output_type) is not response:
                raise InternalError(f"{method_path(method)} answers {method.output_type.name}, not {response.__name__}")
            kind = (
                f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
            )
            made = getattr(self._channel, kind)(
                method_path(method), request_serializer=_serialize, response_deserializer=response.FromString
            )
            self._callables[name] = made
        return made


class Stub:
    """Calls over a `grpc.Channel`."""

    def __init__(self, channel: grpc.Channel, service: ServiceDescriptor) -> None:
        self._methods = _Methods(channel, service)

    def unary(
        self,
        name: str,
        request: Message,
        response: type[Response],
        *,
        timeout: float,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> Response:
        """Call and wait; `timeout` is in seconds. Raises `inborn.errors`."""
        try:
            answer: Response = self._methods.callable(name, response)(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as e:
            raise error_from_rpc(e) from e
        return answer

    def stream(
        self,
        name: str,
        request: Message | Iterable[Message],
        response: type[Response],
        *,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> Iterator[Response]:
        """Call an RPC that answers with a stream, and yield what comes. Raises `inborn.errors`.

        The call is cancelled when the iterator is closed.
        """
        call = self._methods.callable(name, response)(request, metadata=metadata)
        try:
            yield from call
        except grpc.RpcError as e:
            raise error_from_rpc(e) from e
        finally:
            call.cancel()


class AioStream:
    """One open stream of an `AioStub`: read by iterating, write with `send`, end with `cancel`."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __aiter__(self) -> AioStream:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._call.read()
        except grpc.RpcError as e:
            raise error_from_rpc(e) from e
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise UnavailableError("stream was cancelled") from None  # by `cancel`, not this task
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def send(self, message: Message) -> None:
        """Raises `inborn.errors` when the stream has ended."""
        try:
            await self._call.write(message)
        except grpc.RpcError as e:
            error = error_from_rpc(e)
            if type(error) is InternalError:  # gRPC's word for a stream that has just ended, before it knows with what
                error = UnavailableError("stream has ended")
            raise error from e
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as e:
            code = await self._call.code()
            if code is grpc.StatusCode.OK:
                raise UnavailableError("the other side ended the stream") from e
            trailers = tuple(await self._call.trailing_metadata() or ())
            raise error_from_status(code.value[0], await self._call.details() or str(code), trailers) from e

    def cancel(self) -> None:
        self._call.cancel()


class AioStub:
    """Calls over a `grpc.aio.Channel`."""

    def __init__(self, channel: grpc.aio.Channel, service: ServiceDescriptor) -> None:
        self._methods = _Methods(channel, service)

    def unary(
        self,
        name: str,
        request: Message,
        response: type[Response],
        *,
        timeout: float,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> Awaitable[Response]:
        """Call and wait; `timeout` is in seconds. Raises `inborn.errors`."""
        return _answer(self._methods.callable(name, response)(request, timeout=timeout, metadata=metadata))

    def stream(
        self,
        name: str,
        response: type[Response],
        *,
        request: Message | None = None,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> AioStream:
        """Open an RPC that answers with a stream; `request` is given where the RPC takes one and no stream."""
        multi_callable = self._methods.callable(name, response)
        if request is not None:
            return AioStream(multi_callable(request, metadata=metadata))
        return AioStream(multi_callable(metadata=metadata))


async def _answer(call: Any) -> Any:
    try:
        return await call
    except grpc.RpcError as e:
        raise error_from_rpc(e) from e
