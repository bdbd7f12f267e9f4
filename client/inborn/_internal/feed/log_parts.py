"""A revocation log on its way to another process or to disk, in messages of about a mebibyte."""

from __future__ import annotations

from collections.abc import Iterator

from inborn._internal.revocation.revocation_log import RuleLog, RulesPart
from inborn._internal.revocation.revocation_set import RevocationGap
from inborn._internal.wire.messages import rule_from_wire, rule_to_wire
from inborn_proto import agent_pb2, feed_pb2

__all__ = ["LogReader", "log_to_wire"]


def log_to_wire(log: RuleLog) -> Iterator[agent_pb2.Revocations]:
    """The log as a snapshot; `more` is set in all messages but the last. Nothing is made before it is asked for.

    The log may change between two messages: what comes after the first one was taken has to be handed on afterwards.
    """
    log_id, seq = log.log_id, log.seq
    before: RulesPart | None = None
    for part in log.parts():
        if before is not None:
            yield _message(log_id, seq, before, more=True)
        before = part
    if before is not None:
        yield _message(log_id, seq, before, more=False)


def _message(log_id: bytes, seq: int, part: RulesPart, *, more: bool) -> agent_pb2.Revocations:
    return agent_pb2.Revocations(
        log_id=log_id,
        revocation_seq=seq,
        snapshot=True,
        rules=[rule_to_wire(rule) for rule in part.rules],
        serials=feed_pb2.PackedSerials(authorities=part.authorities, records=part.records) if part.records else None,
        more=more,
    )


class LogReader:
    """Puts a log together from its messages."""

    def __init__(self) -> None:
        self._log: RuleLog | None = None

    @property
    def is_between(self) -> bool:
        """Whether a log has begun and not ended."""
        return self._log is not None

    def read(self, message: agent_pb2.Revocations) -> RuleLog | None:
        """Take the next message of a snapshot; gives the log with the last one.

        Raises `RevocationGap` where the message does not go on with what has begun, and what the rules raise; it begins
        anew then.
        """
        log, self._log = self._log, None
        if not message.snapshot:
            raise RevocationGap("a snapshot of the revocations was cut off")
        if log is None:
            log = RuleLog(message.log_id, message.revocation_seq)
        elif (log.log_id, log.seq) != (message.log_id, message.revocation_seq):
            raise RevocationGap(
                f"a snapshot of {log.seq} revocations goes on as one of {message.revocation_seq}, or of another log"
            )
        log.extend(
            RulesPart(
                authorities=tuple(message.serials.authorities),
                records=message.serials.records,
                rules=tuple(rule_from_wire(rule) for rule in message.rules),
            )
        )
        if message.more:
            self._log = log
            return None
        return log
