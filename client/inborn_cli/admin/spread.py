"""What comes after a revocation has committed: its expansion into serials, and its way to every connected peer.

Both go on by themselves in the CA. Whoever stops waiting stops waiting, and nothing else.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import TypeVar

from google.protobuf.message import Message

from inborn._internal.host.talk import ProgressLine, say
from inborn._internal.rpc.admin_client import DEFAULT_TIMEOUT, AdminClient, CaNotRunning
from inborn._internal.wire import admin_methods
from inborn._internal.wire.admin_methods import AdminMethod, Effect
from inborn.errors import ExhaustedError, InternalError, UnavailableError
from inborn_cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["ExpansionStalled", "call_patiently", "follow_expansion", "wait_until_applied"]

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

# On a terminal somebody looks at the count; elsewhere the CA may hold the call as long as it will.
_TERMINAL_STEP = dt.timedelta(milliseconds=250)
_QUIET_STEP = dt.timedelta(seconds=30)

_AWAY = 20.0  # seconds: a signer that was killed is back in two, with a million rows in ten
_PAUSE = 0.1  # seconds between two looks for it

# A chunk takes 20 ms. Something that has not moved for so long will not, by itself.
STALL = dt.timedelta(minutes=2)


class ExpansionStalled(UnavailableError):
    """An expansion does not go on."""


def call_patiently(
    ca: AdminClient, method: AdminMethod[Request, Response], request: Request, timeout: float = DEFAULT_TIMEOUT
) -> Response:
    """Call what may be called twice; when the reply is lost, once more, as soon as the CA is there again.

    Raises what the second attempt raises; what the first one raised if the CA was not there to begin with; and
    `InternalError` for a method that would change something else the second time.
    """
    if method.effect is Effect.CHANGES:
        raise InternalError(f"{method.name} may not be sent again")
    try:
        return ca.call(method, request, timeout)
    except (CaNotRunning, ExhaustedError):
        raise
    except UnavailableError:
        end = time.monotonic() + _AWAY
    while True:
        try:
            return ca.call(method, request, timeout)
        except CaNotRunning:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE)


def follow_expansion(ca: AdminClient, expansion_id: int, total: int) -> pb.ExpansionResponse:
    """Wait until an expansion of about `total` certificates is finished. Raises `ExpansionStalled`."""
    progress = ProgressLine()
    killed, moved = -1, time.monotonic()
    step = _step()
    try:
        while True:
            request = pb.ExpansionRequest(id=expansion_id, wait_ms=round(1000 * step.total_seconds()))
            answer = call_patiently(ca, admin_methods.GET_EXPANSION, request, step.total_seconds() + DEFAULT_TIMEOUT)
            if answer.finished:
                return answer
            if answer.revoked != killed:
                killed, moved = answer.revoked, time.monotonic()
            elif time.monotonic() - moved > STALL.total_seconds():
                raise ExpansionStalled(
                    f"expansion {expansion_id} does not go on: {killed} of {total} certificates are killed",
                    hint="what is blocked stays blocked; the CA's log says why, and it tries again when it starts",
                )
            progress.bar(killed, total, f"{killed} of {count_of(total, 'certificate')} killed")
    except KeyboardInterrupt:
        progress.end()
        say(f"expansion {expansion_id} goes on in the CA")
        raise
    finally:
        progress.end()


def wait_until_applied(ca: AdminClient, seq: int, patience: dt.timedelta) -> pb.PropagationResponse:
    """Ask until every connected peer has applied `seq`, or patience ends; the last answer."""
    step = _step()
    end = time.monotonic() + patience.total_seconds()
    progress = ProgressLine()
    try:
        while True:
            left = max(0.0, end - time.monotonic())
            wait_ms = round(1000 * min(left, step.total_seconds()))
            request = pb.PropagationRequest(revocation_seq=seq, wait_ms=wait_ms)
            timeout = wait_ms / 1000 + DEFAULT_TIMEOUT
            answer = call_patiently(ca, admin_methods.GET_PROPAGATION, request, timeout)
            if answer.applied >= answer.peers and not answer.laggards:
                return answer
            if wait_ms == 0:
                return answer
            progress.bar(
                answer.applied, answer.peers, f"applied by {answer.applied} of {count_of(answer.peers, 'peer')}"
            )
    finally:
        progress.end()


def _step() -> dt.timedelta:
    return _TERMINAL_STEP if sys.stderr.isatty() else _QUIET_STEP
