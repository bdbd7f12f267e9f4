"""Ending a call of gRPC's synchronous server from another thread, with a status.

gRPC offers `cancel()` for that, which the client sees as CANCELLED without a reason; `abort()` is for the handler's own
thread, and a handler that waits for something of its own never comes to it. So the status is sent as the server itself
sends it. That is not part of gRPC's API: where a version of grpcio lacks it, the call is cancelled.
"""

from __future__ import annotations

import logging
from typing import Any

import grpc

from inborn._internal.rpc.services import status_code
from inborn._internal.wire.messages import error_to_metadata
from inborn.errors import InbornError

__all__ = ["end_call"]

log = logging.getLogger(__name__)


def end_call(context: grpc.ServicerContext, reason: InbornError) -> None:
    """End an open call with this error. The handler learns of it as of a cancelled call: `context.is_active()`, its
    callbacks, its request iterator. Nothing happens where the call has ended. May be called from any thread."""
    try:
        is_sent = _send_status(context, reason)
    except Exception as e:
        log.debug("status cannot be sent reason=%s", e)
        is_sent = False
    if not is_sent:
        context.cancel()


def _send_status(context: Any, reason: InbornError) -> bool:
    from grpc import _server

    abort: Any = _server._abort
    codes: Any = grpc._common.STATUS_CODE_TO_CYGRPC_STATUS_CODE
    state, call = context._state, context._rpc_event.call
    with state.condition:
        if state.client is _server._CANCELLED or state.statused:
            return True
        state.code, state.details = status_code(reason), reason.message.encode()
        state.trailing_metadata = error_to_metadata(reason)
        abort(state, call, codes[status_code(reason)], state.details)
        # From here on the handler's own thread must send nothing more, and what it waits for of gRPC's ends.
        state.client = _server._CANCELLED
        state.condition.notify_all()
    return True
