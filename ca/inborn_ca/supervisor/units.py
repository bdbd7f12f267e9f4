"""A unit: processes that are started, restarted and stopped together. The supervisor's loop drives it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from inborn._internal.host.log import get_logger
from inborn_ca.supervisor.restarts import Restarts
from inborn_ca.supervisor.supervised_child import SupervisedChild

__all__ = ["GaveUp", "Unit", "UnitState"]

_log = get_logger("ca.supervisor")

START_TIME = 60.0  # seconds from start to ready; a second on an idle machine, many on one that is swamped
STOP_TIME = 10.0  # seconds from SIGTERM to SIGKILL, for each process


class GaveUp(Exception):
    """A unit does not come up."""


class UnitState(Enum):
    """Where a unit is: see the transitions in `Unit.look`."""

    IDLE = "idle"
    STARTING = "starting"
    SERVING = "serving"
    CLEARING = "clearing"
    """One of its processes has died, and the others must end before all are started anew."""
    PAUSED = "paused"


class Unit:
    """Theory of operation: `look` is called after every event and at every deadline, and makes the next step.

    idle --start--> starting --all ready--> serving
    starting, serving --one has died--> clearing --all have ended--> paused --pause over--> starting
    """

    def __init__(
        self, name: str, start: Callable[[], Sequence[SupervisedChild]], restarts: Restarts | None = None
    ) -> None:
        self.name = name
        self.state = UnitState.IDLE
        self.children: list[SupervisedChild] = []
        self.has_served = False
        self._start = start
        self._restarts = restarts or Restarts()
        self._since = 0.0
        self._deadline: float | None = None
        self._served: float | None = None
        self._culprits: list[SupervisedChild] = []

    @property
    def facts(self) -> Mapping[str, str]:
        """What its processes said when they were ready."""
        return {key: value for child in self.children for key, value in (child.facts or {}).items()}

    @property
    def deadline(self) -> float | None:
        """When `look` must be called at the latest (monotonic seconds)."""
        return self._deadline

    def start(self) -> None:
        """Start all its processes."""
        self.children = list(self._start())
        self._enter(UnitState.STARTING, START_TIME)

    def look(self, now: float) -> None:
        """Make the next step. Raises `GaveUp`."""
        if self.state is UnitState.STARTING:
            if self._anybody_ended():
                self._clear(now)
            elif all(child.is_ready for child in self.children):
                self.has_served = True
                _log.event("unit.serving", unit=self.name, after_ms=int((now - self._since) * 1000))
                self._enter(UnitState.SERVING, None)
            elif self._is_due(now):
                _log.error("unit.not_ready", unit=self.name, seconds=START_TIME)
                self._kill(signal.SIGKILL)
                self._clear(now)
        elif self.state is UnitState.SERVING and self._anybody_ended():
            self._clear(now)
        if self.state is UnitState.CLEARING:
            if all(child.has_ended for child in self.children):
                self._pause(now)
            elif self._is_due(now):
                self._kill(signal.SIGKILL)
                self._deadline = now + STOP_TIME
        if self.state is UnitState.PAUSED and self._is_due(now):
            self.start()

    def stop(self, wait: Callable[[float], bool]) -> None:
        """End its processes, the last one first. `wait(deadline)` waits for an event; True: do not be patient."""
        for child in reversed(self.children):
            child.signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_TIME
            while not child.has_ended:
                if wait(deadline) or time.monotonic() > deadline:
                    _log.warning("child.killed", child=child.name, pid=child.pid)
                    child.signal(signal.SIGKILL)
                    child.process.wait()
            child.forget_pipe()
        self._enter(UnitState.IDLE, None)

    def _clear(self, now: float) -> None:
        """One has died: let the others end."""
        self._served = now - self._since if self.state is UnitState.SERVING else None
        self._culprits = [child for child in self.children if child.has_ended]
        for child in self._culprits:
            _log.warning("child.died", child=child.name, pid=child.pid, how=child.describe_end())
        self._kill(signal.SIGTERM)
        self._enter(UnitState.CLEARING, STOP_TIME)

    def _pause(self, now: float) -> None:
        for child in self.children:
            child.forget_pipe()
        if not self.has_served and self._culprits and all(c.process.returncode > 0 for c in self._culprits):
            raise GaveUp(f"{self.name} does not start")  # it has said why; the same would happen again
        was_killed = any(child.process.returncode == -signal.SIGKILL for child in self._culprits)
        pause = self._restarts.died(now, served=self._served, was_killed=was_killed)
        if pause is None:
            raise GaveUp(f"{self.name} has died too often while starting")
        self._enter(UnitState.PAUSED, pause)

    def _anybody_ended(self) -> bool:
        return any(child.has_ended for child in self.children)

    def _kill(self, number: int) -> None:
        for child in self.children:
            child.signal(number)

    def _enter(self, state: UnitState, seconds: float | None) -> None:
        now = time.monotonic()
        self.state, self._since = state, now
        self._deadline = None if seconds is None else now + seconds

    def _is_due(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline
