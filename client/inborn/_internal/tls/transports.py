"""Closing asyncio's transport above a TLS object, for both asyncio's own loop and uvloop.

A TLS object is told nothing of its transport. That is needed only when a live peer is refused, so nothing is kept for
it: the garbage collector is asked who holds the object. That costs a walk over all objects of the process (some
milliseconds for 100,000), so what is to be closed is collected, and found in one walk together.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import threading
import weakref
from typing import Any

from inborn._internal.source.background import background_loop

__all__ = ["abort_transport"]

_lock = threading.Lock()
_pending: list[tuple[weakref.ref[ssl.SSLObject], asyncio.AbstractEventLoop]] = []


def abort_transport(ref: weakref.ref[ssl.SSLObject], loop: asyncio.AbstractEventLoop) -> None:
    """Abort the transport of the object on its `loop`, soon. May be called from any thread.

    Where none is found (a library that has no transports of asyncio's), nothing happens.
    """
    with _lock:
        _pending.append((ref, loop))
        is_first = len(_pending) == 1
    if is_first:
        background_loop().call_soon_threadsafe(_abort_pending)


def _abort_pending() -> None:
    with _lock:
        pending = _pending[:]
        _pending.clear()
    wanted = {id(o): (o, loop) for ref, loop in pending if (o := ref()) is not None and not loop.is_closed()}
    for transport, loop in _find_transports(wanted):
        with contextlib.suppress(RuntimeError):  # the loop was closed between
            loop.call_soon_threadsafe(transport.abort)


def _find_transports(
    wanted: dict[int, tuple[ssl.SSLObject, asyncio.AbstractEventLoop]],
) -> list[tuple[Any, asyncio.AbstractEventLoop]]:
    """Walk from the objects to who holds them: object <- (dict) <- protocol <- (dict) <- transport."""
    found: list[tuple[Any, asyncio.AbstractEventLoop]] = []
    frontier: list[Any] = [ssl_object for ssl_object, _ in wanted.values()]
    seen = {id(ssl_object) for ssl_object in frontier}
    for _ in range(4):
        if not frontier or not wanted:
            break
        holders = [holder for holder in gc.get_referrers(*frontier) if id(holder) not in seen and _is_of_tls(holder)]
        seen.update(map(id, holders))
        frontier = []
        for holder in holders:
            if hasattr(holder, "abort") and hasattr(holder, "get_extra_info"):
                try:
                    ssl_object = holder.get_extra_info("ssl_object")
                except AttributeError:
                    continue  # closed by its own loop meanwhile: asyncio's has forgotten its protocol then
                match = wanted.pop(id(ssl_object), None)
                if match is not None:
                    found.append((holder, match[1]))
            else:
                frontier.append(holder)
    return found


def _is_of_tls(holder: object) -> bool:
    """Whether the walk goes on there: the attributes of an object, asyncio's and uvloop's TLS protocols and transports.
    It does not go through lists and frames, its own among them."""
    return isinstance(holder, dict) or "SSL" in type(holder).__name__
