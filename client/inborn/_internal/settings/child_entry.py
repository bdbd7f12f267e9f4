"""The main function of a process that is started with a settings document. For CA and agent.

Loads nothing heavy: the supervisor is one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from inborn._internal.host.talk import say_error
from inborn._internal.settings.document import BadSettings, settings_of
from inborn.errors import InbornError

__all__ = ["run_with_settings"]

T = TypeVar("T")


def run_with_settings(arguments: Sequence[str], kind: type[T], run: Callable[[T], int]) -> int:
    """Read the settings and run. The exit status is `run`'s, 1 for an error that it raises, 2 for bad settings."""
    try:
        settings = settings_of(arguments, kind)
    except BadSettings as e:
        say_error(e.message, e.hint)
        return 2
    try:
        return run(settings)
    except InbornError as e:
        say_error(e.message, e.hint)
        return 1
