"""Frames both ways over one stream socket: either side asks, either side answers.

Theory of operation. A frame with a method is a request (or a notice, with id 0), one without is an answer. Each side
numbers its own requests, so the two directions cannot be mixed up. All requests that arrived in one read are handed
to the owner together: while it works, the next ones gather in the socket, and that is the next group (natural
batching, no timers). What is written within one turn of the loop goes out in one write.

A frame that cannot be parsed ends the link: there is no way to find the next one. When the link ends, everybody who
waits is told so by `LinkClosed`, and tasks of the default dispatcher go on to their end, unheard.

Back-pressure. Calls wait while the socket is full. The answering side (`pauses_reading`) takes no further requests
while its answers are not fetched; the other side always reads, so that the two can never wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message

from inborn._internal.wire.frames import MAX_FRAME_SIZE, FrameReader, FrameTooLarge, encode_frame
from inborn._internal.wire.messages import error_from_message, error_to_message
from inborn._internal.wire.methods import UnknownMethod, find_method
from inborn.errors import ExhaustedError, InbornError, InternalError, RequestError, UnavailableError
from inborn_proto import signer_pb2

__all__ = ["Handler", "Incoming", "Link", "LinkClosed", "LinkTimeout", "MalformedFrame", "dispatch"]

MAX_CALLS = 32 * 1024  # asked and not answered: a burst of 10,000 fits three times, at 2 KiB each 64 MiB
MAX_INCOMING = 32 * 1024  # the same for what the other side asks
MAX_BUFFERED = 128 * 1024 * 1024  # bytes not yet taken by the other side: eight of the largest frames
DEFAULT_TIMEOUT = 30.0  # seconds; every call ends

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
Handler = Callable[[Message], Awaitable[Message]]


class LinkClosed(UnavailableError):
    """The process on the other end has gone."""


class LinkTimeout(UnavailableError):
    """The process on the other end did not answer in time. What was asked may still happen."""


class MalformedFrame(RequestError):
    """What arrived is no frame; the link is ended."""


class Incoming:
    """One request of the other side, to be answered once; for a notice the answer goes nowhere."""

    __slots__ = ("_is_done", "_link", "body", "id", "method")

    def __init__(self, link: Link, id: int, method: str, body: bytes) -> None:
        self._link = link
        self._is_done = False
        self.id = id
        self.method = method
        self.body = body

    @property
    def is_notice(self) -> bool:
        return self.id == 0

    @property
    def is_answered(self) -> bool:
        return self._is_done

    def parse(self, message_type: type[M]) -> M:
        """The request message. Raises `RequestError` if the body is none."""
        message = message_type()
        try:
            message.ParseFromString(self.body)
        except DecodeError as e:
            raise RequestError(f"body of {self.method} is not a {message_type.DESCRIPTOR.name}") from e
        return message

    def reply(self, message: Message) -> None:
        """Answer. An answer that is too large for a frame becomes an error to the requester."""
        self._finish(signer_pb2.Frame(id=self.id, body=message.SerializeToString()))

    def fail(self, error: InbornError) -> None:
        """Refuse."""
        self._finish(signer_pb2.Frame(id=self.id, error=error_to_message(error)))

    def _finish(self, frame: signer_pb2.Frame) -> None:
        if self._is_done:
            raise InternalError(f"request {self.id} for {self.method} was answered twice")
        self._is_done = True
        self._link._answer(frame)


class Link(asyncio.Protocol):
    """One end. Make it with `open`, or give `lambda: Link(...)` to `loop.create_unix_server`.

    `handlers`: full method name -> coroutine function, used by the default dispatcher. `on_requests`: called once for
    each read with all requests and notices that arrived in it, instead of the default dispatcher; it must not block and
    must see to it that each is answered. `on_connected` and `on_closed` are called once each.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler] | None = None,
        *,
        limit: int = MAX_FRAME_SIZE,
        on_requests: Callable[[Sequence[Incoming]], None] | None = None,
        on_connected: Callable[[Link], None] | None = None,
        on_closed: Callable[[Link], None] | None = None,
        pauses_reading: bool = False,
        max_calls: int = MAX_CALLS,
        max_incoming: int = MAX_INCOMING,
        name: str = "the other process",
    ) -> None:
        self._handlers = handlers or {}
        self._on_requests = on_requests or self._dispatch_all
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._pauses_reading = pauses_reading
        self._max_calls = max_calls
        self._max_incoming = max_incoming
        self._name = name
        self._reader = FrameReader(limit)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._why = (f"{name} has closed the connection", "")
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._last_id = 0
        self._open_incoming = 0
        self._out: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        handlers: Mapping[str, Handler] | None = None,
        *,
        limit: int = MAX_FRAME_SIZE,
        on_requests: Callable[[Sequence[Incoming]], None] | None = None,
        on_closed: Callable[[Link], None] | None = None,
        pauses_reading: bool = False,
        max_calls: int = MAX_CALLS,
        max_incoming: int = MAX_INCOMING,
        name: str = "the other process",
    ) -> Link:
        """Take a connected stream socket (one of a socketpair, or an accepted one)."""
        sock.setblocking(False)
        link = cls(
            handlers,
            limit=limit,
            on_requests=on_requests,
            on_closed=on_closed,
            pauses_reading=pauses_reading,
            max_calls=max_calls,
            max_incoming=max_incoming,
            name=name,
        )
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, sock)
        return link

    # What the owner calls.

    async def call(self, method: str, message: Message, response_type: type[M], timeout: float = DEFAULT_TIMEOUT) -> M:
        """Ask and wait for the answer; `timeout` in seconds.

        Raises what the other side raised, `LinkClosed`, `LinkTimeout`, and `ExhaustedError` when too many calls are
        open already.
        """
        body = await self.call_bytes(method, message.SerializeToString(), timeout)
        response = response_type()
        try:
            response.ParseFromString(body)
        except DecodeError as e:
            raise self.close(MalformedFrame(f"answer of {method} is not a {response_type.DESCRIPTOR.name}")) from e
        return response

    async def call_bytes(self, method: str, body: bytes, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        """`call` with messages that are serialized already."""
        if self.is_closed:
            raise self._ended()
        if len(self._calls) >= self._max_calls:
            raise ExhaustedError(f"more than {self._max_calls} calls to {self._name} are open")
        self._last_id += 1
        call_id = self._last_id
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._calls[call_id] = answer
        end = self._loop.time() + timeout
        timer: asyncio.TimerHandle | None = None
        try:
            if not self._writable.is_set():
                async with asyncio.timeout_at(end):
                    while not self._writable.is_set() and not self.is_closed:
                        await self._writable.wait()
            if not self.is_closed:
                self._send(signer_pb2.Frame(id=call_id, method=method, body=body))
            # A timer that ends the answer, and not `asyncio.timeout` around it: 5 us less a call.
            timer = self._loop.call_at(end, _give_up, answer)
            return await answer
        except TimeoutError:
            raise LinkTimeout(f"{self._name} did not answer {method} within {timeout:g} s") from None
        finally:
            if timer is not None:
                timer.cancel()
            self._calls.pop(call_id, None)

    def notify(self, method: str, message: Message) -> None:
        """Send a notice: no answer, and no word if the link has ended."""
        if not self.is_closed:
            self._send(signer_pb2.Frame(method=method, body=message.SerializeToString()))

    def close(self, error: InbornError | None = None) -> InbornError:
        """End the link; whoever waits gets `error`, or `LinkClosed`. Returns the error that counts."""
        if not self._closed.done():
            if error is not None:
                self._why = (f"connection to {self._name} was ended: {error.message}", error.hint)
            self._flush()
            if self._transport is not None:
                self._transport.close() if error is None else self._transport.abort()
            self._end()
        return error or self._ended()

    @property
    def is_closed(self) -> bool:
        return self._closed.done()

    @property
    def socket(self) -> socket.socket:
        """The socket below, for its options (`SO_PEERCRED`)."""
        if self._transport is None:
            raise InternalError("link is not connected yet")
        return cast(socket.socket, self._transport.get_extra_info("socket"))

    @property
    def unsent(self) -> int:
        """How many bytes lie here because the other side does not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def wait_closed(self) -> None:
        """Return when the link has ended, for whatever reason."""
        await asyncio.shield(self._closed)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._on_connected is not None:
            self._on_connected(self)

    def data_received(self, data: bytes) -> None:
        arrived: list[Incoming] = []
        try:
            for payload in self._reader.feed(data):
                self._take(payload, arrived)
        except (MalformedFrame, FrameTooLarge) as e:
            log.warning("link.malformed peer=%s error=%s", self._name, e.message)
            self.close(e)
            return
        if arrived and not self.is_closed:
            self._hand_over(arrived)

    def eof_received(self) -> bool:
        return False  # the transport closes itself: nobody would read our answers

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def pause_writing(self) -> None:
        self._writable.clear()
        if self._pauses_reading and self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        if self._pauses_reading and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # Inside.

    def _take(self, payload: bytes, arrived: list[Incoming]) -> None:
        frame = signer_pb2.Frame()
        try:
            frame.ParseFromString(payload)
        except DecodeError as e:
            raise MalformedFrame("not a frame") from e
        if frame.method:
            if frame.HasField("error"):
                raise MalformedFrame("request with an error")
            request = Incoming(self, frame.id, frame.method, frame.body)
            if frame.id:
                self._open_incoming += 1
                if self._open_incoming > self._max_incoming:
                    request.fail(ExhaustedError(f"more than {self._max_incoming} requests are open"))
                    return
            arrived.append(request)
        elif not 0 < frame.id <= self._last_id:
            raise MalformedFrame(f"answer to request {frame.id}, which was never made")
        else:
            answer = self._calls.get(frame.id)  # None: given up meanwhile
            if answer is None or answer.done():
                return
            if frame.HasField("error"):
                answer.set_exception(error_from_message(frame.error))
            else:
                answer.set_result(frame.body)

    def _hand_over(self, arrived: list[Incoming]) -> None:
        try:
            self._on_requests(arrived)
        except Exception:
            log.exception("link.dispatcher_failed peer=%s", self._name)
            for request in arrived:
                if not request.is_answered:
                    request.fail(InternalError("request could not be dispatched"))

    def _dispatch_all(self, arrived: Sequence[Incoming]) -> None:
        for request in arrived:
            task = self._loop.create_task(dispatch(request, self._handlers))
            self._tasks.add(task)  # the loop holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    def _answer(self, frame: signer_pb2.Frame) -> None:
        if not frame.id:
            return
        self._open_incoming -= 1
        if not self.is_closed:
            self._send(frame)

    def _send(self, frame: signer_pb2.Frame) -> None:
        try:
            octets = encode_frame(frame.SerializeToString())
        except FrameTooLarge as e:
            if frame.method:
                raise
            octets = encode_frame(
                signer_pb2.Frame(id=frame.id, error=error_to_message(InternalError(e.message))).SerializeToString()
            )
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(octets)

    def _flush(self) -> None:
        if not self._out or self._transport is None or self.is_closed:
            self._out.clear()
            return
        octets = b"".join(self._out)
        self._out.clear()
        self._transport.write(octets)
        if self._transport.get_write_buffer_size() > MAX_BUFFERED:
            self.close(ExhaustedError(f"{self._name} has not taken {MAX_BUFFERED} bytes"))

    def _ended(self) -> LinkClosed:
        message, hint = self._why
        return LinkClosed(message, hint=hint)

    def _end(self) -> None:
        if self._closed.done():
            return
        self._closed.set_result(None)
        self._writable.set()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(self._ended())
        if self._on_closed is not None:
            self._on_closed(self)


def _give_up(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


async def dispatch(request: Incoming, handlers: Mapping[str, Handler]) -> None:
    """Answer one request by its handler. What the handler raises is the answer; a bug is logged and says nothing."""
    try:
        handler = handlers.get(request.method)
        if handler is None:
            raise UnknownMethod(f"no such method here: {request.method[:100]!a}")
        message = request.parse(find_method(request.method).request)
        request.reply(await handler(message))
    except InbornError as e:
        if not request.is_answered:
            request.fail(e)
    except asyncio.CancelledError:
        if not request.is_answered:
            request.fail(UnavailableError("shutting down"))
        raise
    except Exception:
        log.exception("request.failed method=%s", request.method)
        if not request.is_answered:
            request.fail(InternalError(f"internal error in {request.method}"))
