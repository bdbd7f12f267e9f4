"""The answers to the admin's methods, each of the type that its declaration says, and none left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from inborn._internal.wire.admin_methods import METHODS, AdminMethod, Effect
from inborn.errors import InternalError
from inborn_ca.signer.api.calls import Call, Direct, Later, Queued
from inborn_ca.signer.queue import Command

__all__ = ["AdminTable"]

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class AdminTable:
    """Filled by `AdminCalls`. Who it is that asks comes second to every answer: `uid:0`."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def queued(self, method: AdminMethod[Request, Any], command: Callable[[Request, str], Command]) -> None:
        """A change, in a group of the queue."""
        if method.effect is Effect.READS:
            raise InternalError(f"{method.name} changes nothing and has no business in the queue")
        self._add(method, Queued(command))

    def direct(self, method: AdminMethod[Request, Response], answer: Callable[[Request, str], Response]) -> None:
        """From memory, or with a short read."""
        if method.effect is not Effect.READS:
            raise InternalError(f"{method.name} changes something, and only the queue may")
        self._add(method, Direct(answer))

    def later(
        self, method: AdminMethod[Request, Response], answer: Callable[[Request, str], Awaitable[Response]]
    ) -> None:
        """By a coroutine: it waits, reads at length in a thread of its own, or has a command of its own queued."""
        self._add(method, Later(answer))

    def complete(self) -> Mapping[str, Call]:
        """All answers by full method name. Raises `InternalError` if a declared method has none."""
        missing = sorted(name for name, method in METHODS.items() if method.name not in self._calls)
        if missing:
            raise InternalError(f"the signer does not answer {', '.join(missing)}")
        return self._calls

    def _add(self, method: AdminMethod[Any, Any], call: Call) -> None:
        if method.name in self._calls:
            raise InternalError(f"{method.name} is answered twice")
        self._calls[method.name] = call
