"""A revocation log on its way to another process or to disk, in messages of about a mebibyte."""

from __future__ import annotations

from collections.abc import Iterator

from inborn._internal.revocation.revocation_log import LogPart, RevocationLog
from inborn._internal.revocation.revocation_set import RevocationGap
from inborn._internal.wire.messages import revocation_from_wire, revocation_to_wire
from inborn_proto import agent_pb2, feed_pb2

__all__ = ["LogReader", "log_to_wire"]


def log_to_wire(log: RevocationLog) -> Iterator[agent_pb2.Revocations]:
    """The log as a snapshot; `more` is set in all messages but the last. Nothing is made before it is asked for.

    The log may change between two messages: what comes after the first one was taken has to be handed on afterwards.
    """
    log_id, seq = log.log_id, log.seq
    before: LogPart | None = None
    for part in log.parts():
        if before is not None:
            yield _message(log_id, seq, before, more=True)
        before = part
    if before is not None:
        yield _message(log_id, seq, before, more=False)


def _message(log_id: bytes, seq: int, part: LogPart, *, more: bool) -> agent_pb2.Revocations:
    return agent_pb2.Revocations(
        log_id=log_id,
        revocation_seq=seq,
        snapshot=True,
        revocations=[revocation_to_wire(revocation) for revocation in part.revocations],
        serials=feed_pb2.PackedSerials(authorities=part.authorities, records=part.records) if part.records else None,
        more=more,
    )


class LogReader:
    """Puts a log together from its messages."""

    def __init__(self) -> None:
        self._log: RevocationLog | None = None

    @property
    def is_between(self) -> bool:
        """Whether a log has begun and not ended."""
        return self._log is not None

    def read(self, message: agent_pb2.Revocations) -> RevocationLog | None:
        """Take the next message of a snapshot; gives the log with the last one.

        Raises `RevocationGap` where the message does not go on with what has begun, and what the revocations raise; it
        begins anew then.
        """
        log, self._log = self._log, None
        if not message.snapshot:
            raise RevocationGap("a snapshot of the revocations was cut off")
        if log is None:
            log = RevocationLog(message.log_id, message.revocation_seq)
        elif (log.log_id, log.seq) != (message.log_id, message.revocation_seq):
            raise RevocationGap(
                f"a snapshot of {log.seq} revocations goes on as one of {message.revocation_seq}, or of another log"
            )
        log.extend(
            LogPart(
                authorities=tuple(message.serials.authorities),
                records=message.serials.records,
                revocations=tuple(revocation_from_wire(revocation) for revocation in message.revocations),
            )
        )
        if message.more:
            self._log = log
            return None
        return log
