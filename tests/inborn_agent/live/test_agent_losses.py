"""What the agent does about processes that no longer qualify: real processes, and a CA that is played."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from inborn._internal.process.pinning import PinnedProcess, pin_pid
from inborn.errors import DeniedError, InbornError, UnavailableError
from inborn_agent.attest import Evidence
from inborn_agent.attest.executable import ExecutableId
from inborn_agent.cache.slots import Held
from inborn_agent.disk.svid_store import SvidStore
from inborn_agent.live.attested_callers import AttestedCaller
from inborn_agent.live.live_cache import LiveCache
from inborn_agent.live.losses import Losses
from inborn_member.authority_client import AuthorityClient
from inborn_proto import ca_pb2
from tests.inborn_agent.cache.test_cache import UID, UID_AND_PATH, entry, svid, synced
from tests.rigs.certificates import NOW

PATIENCE = 20.0
PROGRAM = ExecutableId(device=1, inode=1, changed_ns=1)
EVIDENCE = Evidence(selectors=UID_AND_PATH, executable=PROGRAM)


class PlayedCa:
    """Notes what is revoked; raises what `errors` has for it, the first one first."""

    def __init__(self) -> None:
        self.revoked: list[tuple[bytes, int, str]] = []
        self.errors: list[InbornError] = []
        self.refused: set[bytes] = set()
        self.asked = asyncio.Event()

    async def client(self) -> AuthorityClient:
        return cast(AuthorityClient, self)

    async def revoke(self, serials: Sequence[bytes], reason: int, note: str) -> ca_pb2.RevokeOwnResponse:
        self.asked.set()
        if self.errors:
            raise self.errors.pop(0)
        if self.refused & set(serials):
            raise DeniedError("not fetched by this agent")
        self.revoked += [(serial, reason, note) for serial in serials]
        return ca_pb2.RevokeOwnResponse(revoked=len(serials))

    async def until(self, *serials: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            while {serial for serial, _, _ in self.revoked} != set(serials):
                self.asked.clear()
                await self.asked.wait()
                await asyncio.sleep(0)


@dataclasses.dataclass
class PlayedCaller:
    """A connection of a real process, with facts of our choice."""

    process: PinnedProcess
    evidence: Evidence = EVIDENCE

    def is_alive(self) -> bool:
        return self.process.is_alive()

    async def attest_again(self) -> Evidence:
        return self.evidence


class Bench:
    """An agent's cache that holds an SVID for an entry, and processes that were given it."""

    def __init__(self, directory: Path) -> None:
        self.entry = entry(selectors=UID_AND_PATH, revoke_when_lost=True)
        self.cache = synced(self.entry)
        self.cache.subscribe(1, UID_AND_PATH, NOW)
        self.store = SvidStore(directory, allow_disk=True)
        self.live = LiveCache(self.cache, self.store, clock=lambda: NOW)
        self.ca = PlayedCa()
        self.facts: dict[int, Evidence] = {}
        self.losses = Losses(self.live, self.ca.client, self._attest, spread=lambda: 0.0)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.task = asyncio.create_task(self.losses.run())

    async def _attest(self, process: PinnedProcess) -> Evidence:
        return self.facts.get(process.pid, EVIDENCE)

    def issue(self) -> Held:
        held = Held(entry=self.entry, svid=svid())
        for want in self.cache.take_due(NOW, limit=1):
            self.live.issued(want, held.svid)
        return held

    def caller(self) -> PlayedCaller:
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
        self.processes.append(process)
        return PlayedCaller(pin_pid(process.pid))

    def gave(self, caller: PlayedCaller, *held: Held) -> None:
        self.losses.gave(cast(AttestedCaller, caller), held)

    async def attest(self, caller: PlayedCaller) -> Any:
        return await self.losses.attest(cast(AttestedCaller, caller))

    def end(self, number: int = 0) -> None:
        self.processes[number].kill()
        self.processes[number].wait()


@pytest.fixture
async def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)
    for number in range(len(made.processes)):
        made.end(number)


def serial(held: Held) -> bytes:
    return held.svid.facts.serial


async def test_the_key_is_forgotten_at_once_and_the_certificate_revoked_when_its_holder_ends(bench: Bench) -> None:
    held, caller = bench.issue(), bench.caller()
    bench.gave(caller, held)
    caller.process.close()  # it has hung up
    assert bench.cache.svid_of(bench.entry.id) is held.svid
    assert list(bench.store.load())
    bench.end()
    await bench.ca.until(serial(held))
    assert bench.ca.revoked == [(serial(held), 5, "the process ended")]
    assert bench.cache.svid_of(bench.entry.id) is None
    assert not list(bench.store.load())
    assert len(bench.losses) == 0


async def test_the_svid_before_the_present_one_is_revoked_as_well(bench: Bench) -> None:
    before, held, caller = Held(entry=bench.entry, svid=svid()), bench.issue(), bench.caller()
    bench.gave(caller, before)
    bench.gave(caller, held)
    bench.end()
    await bench.ca.until(serial(before), serial(held))


async def test_an_entry_that_does_not_ask_for_it_has_nobody_watched(bench: Bench) -> None:
    held = Held(entry=dataclasses.replace(bench.entry, revoke_when_lost=False), svid=svid())
    bench.gave(bench.caller(), held)
    assert len(bench.losses) == 0


async def test_what_can_not_be_read_revokes_nothing_until_it_can(bench: Bench) -> None:
    held, caller = bench.issue(), bench.caller()
    bench.gave(caller, held)
    caller.evidence = Evidence(selectors=UID, hints=("the engine does not answer",), executable=PROGRAM)
    await bench.attest(caller)
    assert bench.cache.svid_of(bench.entry.id) is held.svid
    caller.evidence = Evidence(selectors=UID, executable=PROGRAM)
    await bench.attest(caller)
    await bench.ca.until(serial(held))
    assert bench.ca.revoked[0][1:] == (9, "the process no longer shows unix:path:/bin/web")


async def test_an_upgraded_file_below_a_process_is_no_other_program_and_another_file_is(bench: Bench) -> None:
    held, caller = bench.issue(), bench.caller()
    bench.gave(caller, held)
    changed = ExecutableId(device=1, inode=1, changed_ns=2)
    caller.evidence = dataclasses.replace(EVIDENCE, executable=changed)
    await bench.attest(caller)
    assert bench.cache.svid_of(bench.entry.id) is held.svid
    bench.facts[caller.process.pid] = dataclasses.replace(
        EVIDENCE, executable=ExecutableId(device=1, inode=2, changed_ns=2)
    )
    bench.live.heard(2.0)
    await bench.ca.until(serial(held))
    assert bench.ca.revoked[0][1:] == (9, "the process became another program or user")


async def test_a_deleted_entry_revokes_nothing(bench: Bench) -> None:
    held, caller = bench.issue(), bench.caller()
    bench.gave(caller, held)
    bench.cache.entries.remove(bench.entry.id)
    other = Held(entry=entry("/other", UID, revoke_when_lost=True), svid=svid("/other"))
    bench.cache.entries.put(other.entry)
    bench.gave(caller, other)
    bench.end()
    await bench.ca.until(serial(other))


async def test_a_ca_that_is_away_is_asked_again_and_one_that_refuses_is_not(bench: Bench) -> None:
    caller, held = bench.caller(), bench.issue()
    alien = Held(entry=bench.entry, svid=svid())
    bench.gave(caller, alien)
    bench.gave(caller, held)
    bench.ca.errors = [UnavailableError("away"), UnavailableError("away")]
    bench.ca.refused = {serial(alien)}
    bench.end()
    await bench.ca.until(serial(held))


async def test_a_process_is_watched_once_however_often_it_connects(bench: Bench) -> None:
    held, caller = bench.issue(), bench.caller()
    for _ in range(10):
        with pin_pid(caller.process.pid) as process:
            bench.gave(PlayedCaller(process), held)
    assert len(bench.losses) == 1
