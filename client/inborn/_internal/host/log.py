"""Log lines: an event's name and fields, on standard error. Never key material, tokens or CSRs."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys

from inborn._internal.host.streams import open_missing_streams
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
            self._logger.log(level, "%s", " ".join(words), extra={"inborn_event": name, "inborn_fields": fields})


def get_logger(name: str) -> EventLogger:
    """The logger of one part of the program: `agent.sync`, `ca.queue`."""
    return EventLogger(logging.getLogger(f"inborn.{name}"))


def configure(level: str = "INFO") -> None:
    """Send the lines of Inborn's programs to standard error. For programs, not for libraries.

    INBORN_LOG_FORMAT says how: `text` or `json`; a value that is neither is `text`. Where standard error is systemd's
    journal, lines of text begin with their priority (sd-daemon(3)). A standard error that is full, or whose reader has
    gone, is no error of the program.
    """
    open_missing_streams()
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    is_json = os.environ.get("INBORN_LOG_FORMAT") == "json"
    handler.setFormatter(_JsonFormatter() if is_json else _TextFormatter(is_journal=_is_journal()))
    for name in ("inborn", "inborn_agent", "inborn_ca", "inborn_cli", "inborn_member"):
        root = logging.getLogger(name)
        root.handlers[:] = [handler]
        root.propagate = False
        root.setLevel(level.upper())


class _TextFormatter(logging.Formatter):
    """One line an event; times in UTC, as everywhere else in the program. The journal has times of its own."""

    def __init__(self, *, is_journal: bool) -> None:
        super().__init__("%(message)s" if is_journal else "%(asctime)s %(levelname)s %(name)s %(message)s")
        self._is_journal = is_journal

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _time(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._is_journal:
            return text
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(f"{prefix}{record.name} {line}" for line in text.split("\n"))


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `event` with its fields, or `message`; and `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {"time": _time(record), "level": record.levelname, "logger": record.name}
        event: str | None = getattr(record, "inborn_event", None)
        fields: dict[str, object] = getattr(record, "inborn_fields", {})
        if event is not None:
            document["event"] = event
            document |= {name: _json_value(value) for name, value in fields.items() if name not in document}
        else:
            document["message"] = record.getMessage()
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


def _json_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = moment(value) if isinstance(value, dt.datetime) else str(value)
    return text[:_MAX_VALUE]


def _time(record: logging.LogRecord) -> str:
    at = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def _priority(level: int) -> int:
    """Of syslog(3): 7 debug, 6 info, 4 warning, 3 error."""
    return 3 if level >= logging.ERROR else 4 if level >= logging.WARNING else 6 if level >= logging.INFO else 7


def _is_journal() -> bool:
    """Whether standard error is the journal's socket, as systemd says (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        told = os.environ.get("JOURNAL_STREAM", "")
        stream = os.fstat(2)
    except OSError:
        return False
    return told == f"{stream.st_dev}:{stream.st_ino}"


def _shown(value: object) -> str:
    """One word: quoted where it has blanks, one line always."""
    text = moment(value) if isinstance(value, dt.datetime) else str(value)
    if len(text) > _MAX_VALUE:
        text = text[: _MAX_VALUE - 3] + "..."
    text = "".join(character if character.isprintable() else "?" for character in text)
    if not text or any(character in text for character in ' "='):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
