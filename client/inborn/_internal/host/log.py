"""Log lines: an event's name and fields, on standard error. Never key material, tokens or CSRs."""

from __future__ import annotations

import datetime as dt
import logging
import sys

from inborn.errors import moment

__all__ = ["EventLogger", "configure", "get_logger"]

# A value that somebody else chose (an error of the other side) must not fill the journal.
_MAX_VALUE = 512


class EventLogger:
    """`get_logger("sync").event("feed.connected", ca="...")` writes `feed.connected ca=...`."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def event(self, name: str, **fields: object) -> None:
        """Something happened that an admin may want to know."""
        self._write(logging.INFO, name, fields)

    def warning(self, name: str, **fields: object) -> None:
        """Something went wrong and will be tried again, or somebody was refused."""
        self._write(logging.WARNING, name, fields)

    def error(self, name: str, **fields: object) -> None:
        """Something is broken and stays so until somebody looks."""
        self._write(logging.ERROR, name, fields)

    def exception(self, name: str, **fields: object) -> None:
        """A bug: the event with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, name, fields)
        self._logger.error("%s", name, exc_info=True)

    def debug(self, name: str, **fields: object) -> None:
        """For whoever hunts a bug."""
        self._write(logging.DEBUG, name, fields)

    def _write(self, level: int, name: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            words = [name, *(f"{key}={_shown(value)}" for key, value in fields.items())]
            self._logger.log(level, "%s", " ".join(words))


def get_logger(name: str) -> EventLogger:
    """The logger of one part of the program: `agent.sync`, `ca.queue`."""
    return EventLogger(logging.getLogger(f"inborn.{name}"))


def configure(level: str = "INFO") -> None:
    """Send the lines of Inborn's programs to standard error. For programs, not for libraries."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("inborn", "inborn_agent", "inborn_ca"):
        root = logging.getLogger(name)
        root.handlers[:] = [handler]
        root.propagate = False
        root.setLevel(level.upper())


def _shown(value: object) -> str:
    """One word: quoted where it has blanks, one line always."""
    text = moment(value) if isinstance(value, dt.datetime) else str(value)
    if len(text) > _MAX_VALUE:
        text = text[: _MAX_VALUE - 3] + "..."
    text = "".join(character if character.isprintable() else "?" for character in text)
    if not text or any(character in text for character in ' "='):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
