"""After a restore of the CA: tell it what this agent knows of the former log and the restored database does not.

The revocations that are left of a former log are those that no revocation of the current one covers; they stay in force
here whatever comes of the report. The certificate goes with each report: the CA may have no row for it, and an admin
may accept it then. What was taken is not reported again by this process; what was refused for good is not either.
"""

from __future__ import annotations

import asyncio

from inborn._internal.host.log import get_logger
from inborn.errors import ExhaustedError, InbornError, UnavailableError
from inborn_agent.live.live_cache import LiveCache
from inborn_member.own_identity import OwnIdentity

__all__ = ["Reporter"]

_log = get_logger("agent.reporting")

_RULES = 500  # a request, as many as the CA takes
_AGAIN = 60.0  # seconds until what could not be reported is tried again


class Reporter:
    """Belongs to one event loop. `look` says that there may be something to report."""

    def __init__(self, live: LiveCache, own: OwnIdentity) -> None:
        self._live = live
        self._own = own
        self._wake = asyncio.Event()
        self._done: set[bytes] = set()
        self._is_unknown = False

    def look(self, *, is_unknown: bool = False) -> None:
        """The CA came with another log, or (`is_unknown`) does not know us: it may be another database by now."""
        self._is_unknown |= is_unknown
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for log_id in self._logs():
                try:
                    await self._report(log_id)
                except (UnavailableError, ExhaustedError) as error:
                    _log.warning("report.postponed", kind=error.kind, reason=error.message)
                    asyncio.get_running_loop().call_later(_AGAIN, self._wake.set)
                    continue
                except InbornError as error:
                    _log.warning("report.refused", log_id=log_id.hex(), kind=error.kind, reason=error.message)
                self._done.add(log_id)

    def _logs(self) -> list[bytes]:
        """Former logs that have revocations, and the one under which our certificate was issued."""
        revocations = self._live.cache.revocations
        logs = [log.log_id for log in revocations.logs() if log.log_id != revocations.log_id]
        if self._own.record is not None:
            logs.append(self._own.record.log_id)
        is_current_meant = self._is_unknown
        self._is_unknown = False
        return [
            log_id
            for log_id in dict.fromkeys(logs)
            if log_id not in self._done and (log_id != revocations.log_id or is_current_meant)
        ]

    async def _report(self, log_id: bytes) -> None:
        client = await self._own.client()
        known = self._live.cache.revocations
        is_former = log_id != known.log_id
        revocations = [revocation for log in known.logs() if is_former and log.log_id == log_id for revocation in log]
        for start in range(0, max(1, len(revocations)), _RULES):
            answer = await client.report(log_id, revocations[start : start + _RULES])
            _log.event("report.taken", log_id=log_id.hex(), revocations=answer.revocations, unknown=answer.unknown)
