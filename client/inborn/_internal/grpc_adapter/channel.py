"""gRPC channels that follow a source: `grpc_channel`.

Such a channel goes through a `Tunnel`, so the server is known by its SPIFFE ID, refused when it is revoked, also on an
open connection, and nothing of gRPC's own TLS is used. When the source's identity or bundles change, or the server's
certificate comes near its end, new calls take a new connection, and the old one ends with the last call on it: no call
fails because of a rotation of either side.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, overload

import grpc
import grpc.aio

from inborn._internal.address import parse_target
from inborn._internal.rpc.services import MESSAGE_LIMITS
from inborn._internal.source.snapshot import IdentitySource, Snapshot
from inborn._internal.tls.context import client_context
from inborn._internal.tls.tunnel import Tunnel
from inborn._internal.verification.freshness import DEFAULT_FRESHNESS, FreshnessPolicy
from inborn._internal.verification.verify import Authorizer
from inborn.errors import InbornError

__all__ = ["RotatingAioChannel", "RotatingChannel", "grpc_channel"]

_OPTIONS: tuple[tuple[str, Any], ...] = (
    *MESSAGE_LIMITS,
    ("grpc.use_local_subchannel_pool", 1),  # each rotation has a connection of its own
    ("grpc.initial_reconnect_backoff_ms", 200),  # a server that restarts is back in about a second
    # Not min_reconnect_backoff_ms: it is also how long a connection may take to be made, and behind gRPC's own there is
    # a TCP and a TLS handshake over the network.
    ("grpc.max_reconnect_backoff_ms", 2_000),  # after an outage calls flow again two seconds later, not ten
)


@overload
def grpc_channel(
    source: IdentitySource,
    target: str,
    authorize: Authorizer,
    *,
    aio: Literal[False] = ...,
    options: Sequence[tuple[str, Any]] = ...,
    freshness: FreshnessPolicy = ...,
) -> RotatingChannel: ...
@overload
def grpc_channel(
    source: IdentitySource,
    target: str,
    authorize: Authorizer,
    *,
    aio: Literal[True],
    options: Sequence[tuple[str, Any]] = ...,
    freshness: FreshnessPolicy = ...,
) -> RotatingAioChannel: ...
def grpc_channel(
    source: IdentitySource,
    target: str,
    authorize: Authorizer,
    *,
    aio: bool = False,
    options: Sequence[tuple[str, Any]] = (),
    freshness: FreshnessPolicy = DEFAULT_FRESHNESS,
) -> RotatingChannel | RotatingAioChannel:
    """A channel to `host:port` as the source's identity, to a server that `authorize` says yes to.

    Raises `InvalidAddress`. Without an identity, or refused, a call fails with UNAVAILABLE; `channel.reason()` says
    why.
    `freshness` says what happens when the CA has not been heard for long: under `closed` the connection is closed and
    none is made, under `closed-new` calls go on where a connection is open.
    """
    parse_target(target)
    if aio:
        return RotatingAioChannel(source, target, authorize, options, freshness)
    return RotatingChannel(source, target, authorize, options, freshness)


class _Line:
    """One gRPC channel over one tunnel, and how many calls are on it."""

    def __init__(self, snapshot: Snapshot, tunnel: Tunnel, channel: Any) -> None:
        self.svids, self.bundles = snapshot.svids, snapshot.bundles
        self.tunnel = tunnel
        self.channel = channel
        self.calls = 0
        self.callables: dict[Any, Any] = {}

    def is_good_for(self, snapshot: Snapshot, now: dt.datetime) -> bool:
        """Whether new calls go here: it was made for this identity, and the server's certificate lasts."""
        replace_at = self.tunnel.replace_at
        return (
            self.svids is snapshot.svids
            and self.bundles is snapshot.bundles
            and (replace_at is None or now < replace_at)
        )


class _Lines:
    """The current line and the retired ones that still have calls. Decides under the lock; closing is done after it."""

    def __init__(
        self,
        source: IdentitySource,
        target: str,
        authorize: Authorizer,
        options: Sequence[tuple[str, Any]],
        freshness: FreshnessPolicy,
        make: Callable[..., Any],
        close: Callable[[Any], None],
    ) -> None:
        self._source = source
        self._target = target
        self._context = client_context(source, authorize, freshness=freshness)
        self._context.set_alpn_protocols(["h2"])
        ours = (*_OPTIONS, ("grpc.default_authority", parse_target(target).host))
        self._options = list(dict((*ours, *options)).items())  # of two of one name gRPC takes the first
        self._make, self._close = make, close
        self._lock = threading.Lock()
        self._lines: set[_Line] = set()
        self._current: _Line | None = None
        self._is_closed = False

    def acquire(self) -> _Line:
        """The line for a new call, which must be released."""
        snapshot, now = self._source.snapshot(), dt.datetime.now(dt.UTC)
        idle: _Line | None = None
        with self._lock:
            if self._is_closed:
                raise ValueError("channel is closed")
            line = self._current
            if line is None or not line.is_good_for(snapshot, now):
                if line is not None and line.calls == 0:
                    self._lines.discard(line)
                    idle = line
                tunnel = Tunnel(self._target, self._context)
                line = _Line(snapshot, tunnel, self._make(tunnel.address, self._options))
                self._lines.add(line)
                self._current = line
            line.calls += 1
        if idle is not None:
            self._end(idle)
        return line

    def release(self, line: _Line) -> None:
        with self._lock:
            line.calls -= 1
            is_over = line.calls == 0 and line is not self._current
            if is_over:
                self._lines.discard(line)
        if is_over:
            self._end(line)

    @contextmanager
    def current(self) -> Iterator[_Line]:
        """The line for a new call, for as long as that takes."""
        line = self.acquire()
        try:
            yield line
        finally:
            self.release(line)

    def close(self) -> list[_Line]:
        """Take all lines out; the caller closes their channels."""
        with self._lock:
            self._is_closed = True
            lines, self._lines, self._current = list(self._lines), set(), None
        return lines

    def reason(self) -> InbornError | None:
        line = self._current
        return None if line is None or line.tunnel.failure is None else line.tunnel.reason()

    def _end(self, line: _Line) -> None:
        self._close(line.channel)
        line.tunnel.close()


class _MultiCallable:
    """A method of the channel: each call takes the line that is current when it begins."""

    def __init__(self, lines: _Lines, kind: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._lines, self._kind, self._method, self._args, self._kwargs = lines, kind, method, args, kwargs

    def _on(self, line: _Line) -> Any:
        made = line.callables.get(self)
        if made is None:
            made = line.callables[self] = getattr(line.channel, self._kind)(self._method, *self._args, **self._kwargs)
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        line = self._lines.acquire()
        if self._kind.endswith("_unary"):
            try:
                return self._on(line)(*args, **kwargs)
            finally:
                self._lines.release(line)
        return self._begin(line, self._on(line), args, kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        with self._lines.current() as line:
            return self._on(line).with_call(*args, **kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        line = self._lines.acquire()
        return self._begin(line, self._on(line).future, args, kwargs)

    def _begin(self, line: _Line, begin: Any, args: Any, kwargs: Any) -> Any:
        """Begin a call that goes on after this; the line is released when it ends."""
        try:
            call = begin(*args, **kwargs)
        except BaseException:
            self._lines.release(line)
            raise
        if not call.add_callback(lambda: self._lines.release(line)):
            self._lines.release(line)  # it has ended already
        return call


class _AioMultiCallable(_MultiCallable):
    """The same for aio, where every call goes on after it was begun."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        line = self._lines.acquire()
        try:
            call = self._on(line)(*args, **kwargs)
        except BaseException:
            self._lines.release(line)
            raise
        call.add_done_callback(lambda _: self._lines.release(line))
        return call


class _Rotating:
    """What channels of both kinds have in common."""

    _lines: _Lines
    _call: type[_MultiCallable]

    def reason(self) -> InbornError | None:
        """Why the last connection failed or was ended; None: it did not."""
        return self._lines.reason()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._lines, "unary_unary", method, args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._lines, "unary_stream", method, args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._lines, "stream_unary", method, args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._lines, "stream_stream", method, args, kwargs)


class RotatingChannel(_Rotating, grpc.Channel):
    """See `grpc_channel`."""

    _call = _MultiCallable

    def __init__(
        self,
        source: IdentitySource,
        target: str,
        authorize: Authorizer,
        options: Sequence[tuple[str, Any]],
        freshness: FreshnessPolicy,
    ) -> None:
        self._lines = _Lines(
            source, target, authorize, options, freshness, grpc.insecure_channel, lambda channel: channel.close()
        )

    def subscribe(self, callback: Callable[..., None], try_to_connect: bool | None = False) -> None:
        """Watch the current connection's state; a rotation is not followed."""
        with self._lines.current() as line:
            line.channel.subscribe(callback, try_to_connect=try_to_connect)

    def unsubscribe(self, callback: Callable[..., None]) -> None:
        with self._lines.current() as line:
            line.channel.unsubscribe(callback)

    def close(self) -> None:
        for line in self._lines.close():
            line.channel.close()
            line.tunnel.close()

    def __enter__(self) -> RotatingChannel:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class RotatingAioChannel(_Rotating, grpc.aio.Channel):
    """See `grpc_channel`. To be made and used on one event loop."""

    _call = _AioMultiCallable

    def __init__(
        self,
        source: IdentitySource,
        target: str,
        authorize: Authorizer,
        options: Sequence[tuple[str, Any]],
        freshness: FreshnessPolicy,
    ) -> None:
        self._closing: set[Any] = set()
        self._lines = _Lines(
            source, target, authorize, options, freshness, grpc.aio.insecure_channel, self._close_later
        )

    def _close_later(self, channel: Any) -> None:
        import asyncio

        task = asyncio.get_running_loop().create_task(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, grace: float | None = None) -> None:
        for line in self._lines.close():
            await line.channel.close(grace)
            line.tunnel.close()

    async def __aenter__(self) -> RotatingAioChannel:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        with self._lines.current() as line:
            state: grpc.ChannelConnectivity = line.channel.get_state(try_to_connect)
            return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        with self._lines.current() as line:
            await line.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        with self._lines.current() as line:
            await line.channel.channel_ready()
