"""The access table rules everywhere: each permission in it is taken away, and the service behind it refuses the call.

A CA and an agent run in this process, with the ports, links and sockets that they have in production. Every call goes
the way that its caller goes, and is an empty message: with the permission it gets past the gate, whatever comes then.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from inborn._internal.rpc.services import error_from_rpc
from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.wire import access
from inborn._internal.wire.access import ACCESS, CallerClass, CallNotAllowed
from inborn._internal.wire.methods import find_method
from inborn.errors import InbornError
from inborn_agent.app import Agent
from inborn_agent.settings import AgentSettings
from inborn_ca.link.link import Link
from tests.rigs.front_rig import EnrolledAgent, Rig, running_ca

HEADER = (("workload.spiffe.io", "true"),)
PATIENCE = 20.0  # seconds: long enough for a busy machine

PERMISSIONS = [(method, caller) for method, callers in ACCESS.items() for caller in sorted(callers)]


@dataclass(frozen=True, kw_only=True)
class House:
    """A CA, an agent, and somebody of each class."""

    ca: Rig
    agent: EnrolledAgent
    daemon: EnrolledAgent
    workload_socket: Path
    agent_admin_socket: Path

    async def call(self, method: str, caller: CallerClass) -> InbornError | None:
        """Call as this caller does; gives the refusal, if it was one."""
        match caller:
            case CallerClass.ANONYMOUS:
                return await first_answer(self.ca.channel(self.ca.settings.bootstrap), method)
            case CallerClass.AGENT:
                return await first_answer(self.ca.channel(self.ca.settings.api, self.agent.svid), method)
            case CallerClass.DAEMON:
                return await first_answer(self.ca.channel(self.ca.settings.api, self.daemon.svid), method)
            case CallerClass.FRONT:
                return await framed_answer(self.ca.to_signer, method)
            case CallerClass.SIGNER:
                return await framed_answer(self.ca.to_front, method)
            case CallerClass.LOCAL_ADMIN:
                try:
                    await self.ca.admin(method.rpartition("/")[2], find_method(method).request())
                except InbornError as error:
                    return error
                return None
            case CallerClass.LOCAL_WORKLOAD:
                return await local_answer(self.workload_socket, method)
            case CallerClass.AGENT_ADMIN:
                return await local_answer(self.agent_admin_socket, method)
        raise AssertionError(f"nobody here is {caller}")


async def first_answer(channel: grpc.aio.Channel, method: str) -> InbornError | None:
    """Whatever the shape of the call is: on the wire, one message and the end of the requests fit all of them."""
    call = channel.stream_stream(method)(iter([b""]), timeout=PATIENCE, metadata=HEADER)
    try:
        await call.read()
    except grpc.RpcError as error:
        return error_from_rpc(error)
    finally:
        call.cancel()
    return None


async def framed_answer(link: Link, method: str) -> InbornError | None:
    try:
        await link.call_bytes(method, b"", timeout=PATIENCE)
    except InbornError as error:
        return error
    return None


async def local_answer(socket: Path, method: str) -> InbornError | None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        return await first_answer(channel, method)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house() -> AsyncIterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="ia"))  # short: it holds sockets
    try:
        async with running_ca(directory) as ca, running_agent(ca, directory) as settings:
            yield House(
                ca=ca,
                agent=await ca.enroll(),
                daemon=await ca.enroll(spiffe_id="spiffe://example.org/db"),
                workload_socket=settings.socket,
                agent_admin_socket=settings.admin_socket,
            )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def running_agent(ca: Rig, directory: Path) -> AsyncIterator[AgentSettings]:
    is_ready, says_ready = os.pipe()
    settings = AgentSettings.resolve(
        AgentOptions(
            join_admin_socket=ca.admin_socket,
            data_dir=directory / "a",
            runtime_dir=directory / "r",
            docker_socket="",
            podman_socket="",
            ready_fd=says_ready,
        )
    )
    agent = Agent(settings)
    task = asyncio.create_task(agent.run())
    try:
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.to_thread(os.read, is_ready, 100) == b"ready\n"
        yield settings
    finally:
        agent.stop()
        await task
        os.close(is_ready)


def without(method: str, caller: CallerClass) -> dict[str, frozenset[CallerClass]]:
    """The table without this permission: the whole row is gone where it had no other."""
    rows = {**ACCESS, method: ACCESS[method] - {caller}}
    return {name: callers for name, callers in rows.items() if callers}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("method", "caller"), PERMISSIONS, ids=lambda value: str(value).replace(" ", "-"))
async def test_call_without_its_row_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch, method: str, caller: CallerClass
) -> None:
    allowed = await house.call(method, caller)
    assert not isinstance(allowed, CallNotAllowed), allowed
    monkeypatch.setattr(access, "ACCESS", without(method, caller))
    refused = await house.call(method, caller)
    assert isinstance(refused, CallNotAllowed)
    assert refused.message.startswith(f"{caller} may not call '{method}'")


@pytest.mark.asyncio(loop_scope="module")
async def test_every_class_that_the_table_names_has_somebody_here(house: House) -> None:
    """WORKLOAD and LOCAL_OTHER are the classes of those who may call nothing."""
    named = {caller for _, caller in PERMISSIONS}
    assert named == set(CallerClass) - {CallerClass.WORKLOAD, CallerClass.LOCAL_OTHER}
