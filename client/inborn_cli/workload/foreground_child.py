"""A child process behind which its parent disappears: signals go through, and so does the exit status. Linux only.

Theory of operation. All signals that could be meant for the child are blocked in every thread, and one thread waits
for them and for nothing else, so that each is seen with its origin. A terminal sends Ctrl-C to the whole foreground
group, parent and child: that one is not passed on, or the child would get it twice. Another thread waits for the
child's end (and, as process 1 of a container, takes in every orphan). What they see comes to one queue, in order.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inborn.errors import UnavailableError

__all__ = ["Ended", "ForegroundChild", "PassedSignal", "block_signals", "exit_status", "parse_signal", "watch_signals"]

# Signals that somebody may send to the parent and mean the child. Not SIGTSTP and SIGCONT: they are for whole groups.
_PASSED = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGWINCH,
    }
)
# Of these a terminal sends one to each process of the foreground group.
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH})
_SI_KERNEL = 0x80  # sigaction(2): sent by the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedSignal:
    """A signal that came to the parent."""

    number: int
    is_everybodys: bool
    """Whether the child has got it as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The child has ended."""

    status: int
    """As a shell would show it: 128 and the signal's number for a death by signal."""


def parse_signal(text: str) -> signal.Signals:
    """Parse `HUP`, `SIGHUP` or a number. Raises `ValueError`."""
    name = text.strip().upper()
    if name.isascii() and name.isdigit() and len(name) <= 3:
        return signal.Signals(int(name))
    try:
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except KeyError as e:
        raise ValueError(f"not a signal: {text[:20]!a}") from e


def exit_status(wait_status: int) -> int:
    """What a shell makes of a wait status."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def block_signals() -> set[signal.Signals | int]:
    """Block what is to be passed on, and give the mask that was. To be called before any thread is started, which
    inherits it."""
    if not sys.platform.startswith("linux"):
        raise UnavailableError(f"programs are started on Linux only, this is {sys.platform}")
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED))


def watch_signals(events: queue.SimpleQueue[object]) -> None:
    """Put each signal in the queue, for ever, from a thread of its own."""

    def wait() -> None:
        while True:
            info = signal.sigwaitinfo(_PASSED)
            is_everybodys = info.si_code == _SI_KERNEL and info.si_signo in _FROM_TERMINAL
            events.put(PassedSignal(number=info.si_signo, is_everybodys=is_everybodys))

    threading.Thread(target=wait, name="signals", daemon=True).start()


class ForegroundChild:
    """One running child. Its end is put in the queue."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        mask: set[signal.Signals | int],
        events: queue.SimpleQueue[object],
    ) -> None:
        """Start it with the signal mask `mask`. Raises `OSError` if there is no such program.

        posix_spawn and not fork: there are threads here, and gRPC among them.
        """
        self.pid = os.posix_spawnp(
            command[0],
            list(command),
            dict(environment),
            setsigmask=mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # the interpreter ignores them, and a child would inherit that
        )
        self._pidfd = os.pidfd_open(self.pid)
        threading.Thread(target=self._wait, args=(events,), name="child", daemon=True).start()

    def send(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended, whoever has its number by now."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def _wait(self, events: queue.SimpleQueue[object]) -> None:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self.pid:
                events.put(Ended(status=exit_status(status)))
                return
