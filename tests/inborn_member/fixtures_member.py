"""Members of both kinds, an agent's own identity and a daemon that enrolled by itself, against one spoken CA."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import inborn
from inborn._internal.host.files import read_sealed
from inborn._internal.metrics.counting import Metrics
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.source.snapshot import IdentitySource, Snapshot
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_agent.ca.agent_identity import agent_identity
from inborn_agent.ca.joining import NoJoiner, TokenFileJoiner
from inborn_member.identity_store import IdentityStore
from inborn_proto import feed_pb2
from tests.rigs.fixtures_spoken_ca import DAEMON, SpokenAuthority

WAIT = 10.0
IDS = {"agent": "spiffe://example.org/inborn/agent/1", "daemon": DAEMON}


@dataclass
class Running:
    """A member that has an identity; `rotate` has it renewed at once."""

    source: IdentitySource
    rotate: Callable[[], None]

    @property
    def svid(self) -> X509Svid:
        return self.source.snapshot().svids[0]

    async def until(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        end = self.source.subscribe(lambda _: loop.call_soon_threadsafe(changed.set))
        try:
            async with asyncio.timeout(WAIT):
                while not condition(snapshot := self.source.snapshot()):
                    await changed.wait()
                    changed.clear()
                return snapshot
        finally:
            end()

    async def renewed(self) -> X509Svid:
        """Have it renewed, and wait until it is."""
        before = self.svid.leaf
        self.rotate()
        return (await self.until(lambda s: bool(s.svids) and s.svids[0].leaf != before)).svids[0]


@dataclass
class Member:
    """One kind of member in one directory."""

    kind: str
    ca: SpokenAuthority
    directory: Path

    @property
    def token_file(self) -> Path:
        return self.directory.with_name("token")

    def running(self, *, token: bool = True) -> Any:
        """Start it, with the CA's token or without one, and wait until it has an identity."""
        self.token_file.write_text(self.ca.token.encode() if token else "")
        return self._agent(token) if self.kind == "agent" else self._daemon(token)

    @asynccontextmanager
    async def _agent(self, token: bool) -> AsyncIterator[Running]:
        self.directory.mkdir(exist_ok=True)
        store = IdentityStore(self.directory)
        own = agent_identity(
            self.ca.authority.trust_domain,
            store,
            TokenFileJoiner(str(self.token_file), self.ca.address) if token else NoJoiner(),
            Metrics(),
            revocations=RevocationSet(),
            record=store.load(),
            ca=self.ca.address,
        )
        task = asyncio.create_task(own.run())
        try:
            async with asyncio.timeout(WAIT):
                await own.client()
            yield Running(own.source, own.rotate)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await own.close()

    @asynccontextmanager
    async def _daemon(self, token: bool) -> AsyncIterator[Running]:
        file = self.token_file if token else None
        while not self.ca.acks.empty():
            self.ca.acks.get()
        async with inborn.enroll(ca=self.ca.address, join_token_file=file, directory=self.directory) as source:
            await asyncio.to_thread(self.ca.acks.get, timeout=WAIT)  # it listens
            # What a CA says that is about to revoke its authority: everybody renews at once.
            tainted = feed_pb2.AuthorityState.TAINTED
            yield Running(source, lambda: self.ca.push(self.ca.feed.authorities(tainted)))

    def kept(self, name: str) -> bytes | None:
        return read_sealed(self.directory / name)

    @contextmanager
    def nothing_can_be_kept(self, name: str) -> Iterator[None]:
        """Writes of this file fail meanwhile, as on a disk that is full."""
        obstacle = self.directory / f".{name}.new"
        obstacle.mkdir()
        try:
            yield
        finally:
            os.rmdir(obstacle)


@pytest.fixture(params=sorted(IDS))
def member(request: pytest.FixtureRequest, ca: SpokenAuthority, tmp_path: Path) -> Member:
    ca.spiffe_id = IDS[request.param]
    return Member(request.param, ca, tmp_path / "m")
