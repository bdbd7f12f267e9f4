"""py-spiffe, in processes of its own, over our Workload API."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.interop.rig import HERE, Program, System
from tests.rigs.fixtures_up import spiffe_id

pytest.importorskip("spiffe", reason="needs spiffe (py-spiffe)")

SERVICE, SECOND = "/python/service", "/python/second"

# What a program does that takes one library for this and the other for that.
BOTH = """
import json
from inborn import X509Source
from spiffe import WorkloadApiClient
with X509Source() as source, WorkloadApiClient() as client:
    theirs = client.fetch_x509_svid(timeout=20)
    ids = [str(source.svid.spiffe_id), str(theirs.spiffe_id)]
    print(json.dumps({"event": "ids", "ids": ids}))
"""


@contextmanager
def pyspiffe(system: System, mode: str) -> Iterator[Program]:
    with system.program([sys.executable, HERE / "pyspiffe_client.py", mode]) as program:
        yield program


def test_python_service_without_an_entry_is_told_so(system: System) -> None:
    with pyspiffe(system, "fetch") as client:
        refused = client.expect("error")["error"]
    assert "no identity issued" in refused
    assert "PERMISSION_DENIED" in refused


def test_python_service_sees_all_its_identities_and_the_bundle(system: System) -> None:
    system.entry(SERVICE)
    system.entry(SECOND)
    with pyspiffe(system, "fetch") as client:
        assert set(client.expect("context")["ids"]) == {spiffe_id(SERVICE), spiffe_id(SECOND)}
    with pyspiffe(system, "bundles") as client:
        bundle = client.expect("bundle")
    assert (bundle["trust_domain"], bundle["authorities"]) == ("example.org", 1)


def test_python_service_follows_rotations(system: System) -> None:
    system.entry(SERVICE, ttl_seconds=2)
    with pyspiffe(system, "watch") as client:
        said = [client.expect("svid") for _ in range(4)]
        client.process.stdin.close()  # type: ignore[union-attr]
        assert client.expect("end")["closed"] is False
    assert {d["id"] for d in said} == {spiffe_id(SERVICE)}
    serials = [int(d["serial"], 16) for d in said]
    assert serials == sorted(set(serials))


def test_python_service_goes_on_when_the_agent_is_killed(system: System) -> None:
    system.entry(SERVICE, ttl_seconds=4)
    with pyspiffe(system, "watch") as client:
        before = int(client.expect("svid")["serial"], 16)
        os.kill(system.agent_pid, signal.SIGKILL)
        after = client.expect("svid", lambda d: int(d["serial"], 16) > before)
        assert after["closed"] is False


def test_python_service_waits_for_its_entry(system: System) -> None:
    with pyspiffe(system, "watch") as client:
        system.entry(SERVICE)
        assert client.expect("svid")["id"] == spiffe_id(SERVICE)


def test_both_libraries_live_in_one_process(system: System) -> None:
    system.entry(SERVICE)
    with system.program([sys.executable, "-c", BOTH]) as program:
        assert program.expect("ids")["ids"] == [spiffe_id(SERVICE)] * 2
