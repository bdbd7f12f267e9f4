"""A full disk: a clear error, nothing half done, and it goes on when there is room again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inborn.errors import InbornError
from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, Requester, admin_call, serial_hex, spiffe_id, wait_for_paths

pytestmark = [pytest.mark.root, pytest.mark.needs("mount", "umount")]
SIZE = 3 * 1024 * 1024  # bytes: a new CA's directory has one


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which is soon full."""
    path = tmp_path / "d"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0711", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a tmpfs: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(directory: Path) -> Path:
    """Take all the room that there is."""
    ballast = directory / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            while True:
                try:
                    if file.write(b"x" * size) < size:
                        break
                except OSError:
                    break
    return ballast


async def test_full_disk_refuses_clearly_and_everything_goes_on_when_there_is_room(
    small: Path, machines: Callable[..., Machine]
) -> None:
    machine = machines()
    await asyncio.to_thread(machine.start)
    entry = await asyncio.to_thread(machine.entry, "/any", node="any")
    address = await asyncio.to_thread(lambda: machine.bootstrap_address)
    requester = await Requester.enroll((await admin_call(machine, "CreateToken")).token, address)
    received = [serial_hex(der) for der in await requester.issue(entry) if isinstance(der, bytes)]
    pids = machine.supervisor.children()

    ballast = await asyncio.to_thread(fill, small)
    refused: list[InbornError] = []
    revoked: list[str] = []
    for number in range(300):  # pages that the database has already may take the first ones
        try:
            await admin_call(machine, "Revoke", spiffe_id=spiffe_id(f"/gone/{number}"))
            revoked.append(f"id:{spiffe_id(f'/gone/{number}')}")
        except InbornError as e:
            refused.append(e)
            break
    assert refused, "the disk is not full"
    assert "full" in refused[0].message, refused[0].message
    with pytest.raises(InbornError, match="full"):
        await requester.issue(entry)
    with pytest.raises(InbornError, match="full"):
        await admin_call(machine, "CreateToken")
    status = await asyncio.to_thread(machine.status)  # what needs no room works
    assert status.entries == 1

    os.unlink(ballast)
    outcome = await requester.issue(entry)
    received += [serial_hex(der) for der in outcome if isinstance(der, bytes)]
    assert len(received) == 2, outcome
    answer = await admin_call(machine, "Revoke", spiffe_id=spiffe_id("/after"))
    listed = await admin_call(machine, "ListRevocations", all=True)
    assert [row.target for row in listed.revocations] == [*revoked, f"id:{spiffe_id('/after')}"]
    assert answer.revocation_seq == len(revoked) + 1
    assert machine.supervisor.children() == pids  # nobody died of it
    rows = await asyncio.to_thread(machine.ledger)
    assert set(received) <= set(rows)
    await requester.client.close()

    def as_a_workload() -> None:
        machine.entry("/web")
        with machine.source() as source:
            wait_for_paths(source, "/any", "/web")
        machine.stop()
        machine.start()
        assert machine.ask("ListEntries", admin_pb2.ListEntriesRequest()).entries

    await asyncio.to_thread(as_a_workload)


def test_start_on_a_full_disk_says_so_and_the_next_one_works(small: Path, machines: Callable[..., Machine]) -> None:
    ballast = fill(small)
    machine = machines()
    running = machine.start(is_awaited=False)
    assert running.process.wait(60) == 1
    running.reader.join(10)
    errors = [line for line in running.lines if line.startswith("error: ")]
    assert errors, running.stderr
    assert "no space left" in errors[0].lower() or "full" in errors[0], running.stderr
    assert "Traceback" not in running.stderr
    os.unlink(ballast)
    machine.start()
    machine.wait_serving()


def test_disk_that_fills_up_during_the_first_start_leaves_nothing_half_made(
    small: Path, machines: Callable[..., Machine]
) -> None:
    """Room for a part of what the first start writes, in growing portions."""
    machine = machines()
    for room in range(0, 400 * 1024, 50 * 1024):
        ballast = fill(small)
        with open(ballast, "rb+") as file:
            file.truncate(max(0, ballast.stat().st_size - room))
        running = machine.start(is_awaited=False)
        try:
            running.wait_for("inborn is up", 60)
        except AssertionError:
            running.end()
        machine.clean_up()
        os.unlink(ballast)
    machine.start()
    machine.wait_serving()
    kinds = [a.state for a in machine.status().authorities]
    assert kinds.count("root") == 1
    assert kinds.count("active") == 1
