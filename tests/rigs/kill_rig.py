"""Load on a machine whose processes are killed meanwhile, and the account of what was promised."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from inborn._internal.revocation.revocation_set import RevocationSet
from inborn.errors import InbornError
from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, Requester, admin_call, serial_hex, spiffe_id, wait_for_snapshot

CLIENTS = 3
CERTIFICATES_A_REVOCATION = 8
PATIENCE = 60.0  # seconds without any progress that are too many


class Load:
    """Three agents that ask for certificates without pause, and an admin who revokes an identity now and then.

    Whatever fails is tried again, as agents and admins do. `received` and `revoked` are what was answered.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.received: list[str] = []
        self.revoked: list[tuple[str, int]] = []
        self.failures = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._arrived = asyncio.Event()
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None
        self._stack = ExitStack()

    @property
    def issued(self) -> int:
        return len(self.received)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for_progress(CLIENTS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._error is not None and value is None:
            raise self._error

    def wait_for_progress(self, count: int) -> None:
        """Until so many more things were answered."""
        with self._progress:
            wanted = len(self.received) + len(self.revoked) + count
            deadline = time.monotonic() + PATIENCE
            while len(self.received) + len(self.revoked) < wanted:
                assert self._error is None, self._error
                assert self._progress.wait(max(0.0, deadline - time.monotonic())), (
                    f"no progress in {PATIENCE:g} s:\n{self.machine.supervisor.stderr[-4000:]}"
                )

    def _end(self) -> None:
        self._stop.set()
        self._arrived.set()

    # -- the load ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as e:
            self._error = e
            with self._progress:
                self._progress.notify_all()
        finally:
            self._loop.close()

    async def _main(self) -> None:
        machine = self.machine
        entry = await asyncio.to_thread(machine.entry, "/load", node="any")
        address = await asyncio.to_thread(lambda: machine.bootstrap_address)
        requesters = []
        for _ in range(CLIENTS):
            token = (await admin_call(machine, "CreateToken")).token
            requesters.append(await Requester.enroll(token, address))
        await asyncio.gather(*(self._ask(requester, entry) for requester in requesters), self._revoke())
        for requester in requesters:
            await requester.client.close()

    async def _ask(self, requester: Requester, entry: str) -> None:
        while not self._stop.is_set():
            try:
                for outcome in await requester.issue(entry, entry):
                    if isinstance(outcome, InbornError):
                        raise outcome
                    self._record(self.received, serial_hex(outcome))
            except InbornError:
                self.failures += 1
                await asyncio.sleep(0.02)  # the pause of a client that tries again

    async def _revoke(self) -> None:
        for number in itertools.count():
            target = f"/revoked/{number}"
            while not self._stop.is_set():
                try:
                    answer = await admin_call(self.machine, "Revoke", spiffe_id=spiffe_id(target))
                    self._record(self.revoked, (target, answer.revocation_seq))
                    await self._until_issued(len(self.received) + CERTIFICATES_A_REVOCATION)
                    break
                except InbornError:
                    self.failures += 1
                    await asyncio.sleep(0.02)
            if self._stop.is_set():
                return

    async def _until_issued(self, count: int) -> None:
        """An admin revokes seldom compared with what is issued."""
        self._arrived.clear()
        while len(self.received) < count and not self._stop.is_set():
            await self._arrived.wait()
            self._arrived.clear()

    def _record(self, what: list[Any], item: Any) -> None:
        with self._progress:
            what.append(item)
            self._progress.notify_all()
        self._arrived.set()

    # -- the account -------------------------------------------------------------------------------------------------

    def check_ledger(self) -> None:
        """Every certificate that a client has received has its row."""
        rows = self.machine.ledger()
        missing = [serial for serial in self.received if serial not in rows]
        assert not missing, f"{len(missing)} of {len(self.received)} certificates have no row: {missing[:3]}"

    def _listed(self) -> dict[int, str]:
        """Number and target of each revocation in the log."""
        targets: dict[int, str] = {}
        is_more = True
        while is_more:
            request = admin_pb2.ListRevocationsRequest(all=True, after_seq=max(targets, default=0))
            page = self.machine.ask("ListRevocations", request)
            targets |= {row.seq: row.target for row in page.revocations}
            is_more = page.more
        return targets

    def check_revocations(self) -> None:
        """Every acknowledged revocation is in the log under its number, and in the set that a workload enforces."""
        targets = self._listed()
        for target, seq in self.revoked:
            assert targets.get(seq) == f"id:{spiffe_id(target)}", (target, seq)
        last = max(seq for _, seq in self.revoked)
        with self.machine.source(timeout=0) as source:
            wait_for_snapshot(source, lambda s: s.revocations.seq >= last, "the workload knows all revocations")
            known: RevocationSet = source.snapshot().revocations
            enforced = {revocation.value.decode() for revocation in known}
            assert {spiffe_id(target) for target, _ in self.revoked} <= enforced
