"""`inborn up` and `inborn ca run` as real processes: starts, restarts, ends, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from inborn._internal.host.paths import admin_socket
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_proto import admin_pb2
from tests.rigs.up_rig import Running, started, up, wait_until


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def serving_again(running: Running, name: str, former: int) -> None:
    """Wait until all three run, the named one as a new process, and the CA answers."""

    def condition() -> bool:
        children = running.children()
        if set(children) != {"signer", "front", "agent"} or children[name] == former:
            return False
        try:
            return running.status().agents_connected == 1
        except Exception:
            return False

    wait_until(condition, f"{name} is back", 30)


def test_up_serves_says_where_and_ends_in_order(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        assert set(running.children()) == {"signer", "front", "agent"}
        status = running.status()
        assert status.agents == 1
        pids = running.children().values()
        assert running.end() == 0
        assert running.process.stdout is not None
        assert running.process.stdout.read() == f"unix://{tmp_path}/data/run/api.sock\n"
        assert all(is_gone(pid) for pid in pids)
    assert f"trust domain {status.trust_domain}, data in {tmp_path}/data" in running.stderr
    assert f"inborn entry create --id spiffe://{status.trust_domain}/web" in running.stderr


def test_second_start_on_the_same_directory_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        with started(tmp_path / "data") as second:
            assert second.process.wait(30) == 1
        second.reader.join(5)
        assert f"is in use by process {running.process.pid}" in second.stderr
        assert running.status().agents_connected == 1


def test_started_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        first = running.status()
        agents = [agent.spiffe_id for agent in list_agents(running)]
        assert running.end() == 0
    with up(tmp_path / "data") as running:
        second = running.status()
        assert [agent.spiffe_id for agent in list_agents(running)] == agents
    for name in ("trust_domain", "log_id", "bootstrap_address", "api_address"):
        assert getattr(first, name) == getattr(second, name)


def list_agents(running: Running) -> list[admin_pb2.Agent]:
    with AdminClient(admin_socket(running.data_dir)) as client:
        request = admin_pb2.ListAgentsRequest()
        return list(client.call(admin_methods.LIST_AGENTS, request).agents)


def test_each_process_that_is_killed_comes_back_and_the_others_are_as_they_should_be(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        for name in ("signer", "front", "agent"):
            before = running.children()
            serving_again(running, name, running.kill(name))
            after = running.children()
            if name == "agent":
                assert (after["signer"], after["front"]) == (before["signer"], before["front"])
            else:
                assert after["agent"] == before["agent"]
                assert after["signer"] != before["signer"]
                assert after["front"] != before["front"]


def test_killed_supervisor_leaves_nobody_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        trust_domain = running.status().trust_domain
        pids = list(running.children().values())
        running.end(signal.SIGKILL)
        wait_until(lambda: all(is_gone(pid) for pid in pids), "children are gone", 10)
    with up(tmp_path / "data") as running:
        assert running.status().trust_domain == trust_domain


@pytest.mark.parametrize("after", ["at once", "signer.ready", "agent.starting"])
def test_sigterm_while_it_starts_ends_it_and_leaves_nobody(tmp_path: Path, after: str) -> None:
    with started(tmp_path / "data") as running:
        if after == "at once":
            wait_until(lambda: bool(running.children()), "a child runs")
        else:
            running.wait_for(after)
        began = time.monotonic()
        assert running.end() == 0
        assert time.monotonic() - began < 20
        assert running.children() == {}
    with up(tmp_path / "data"):
        pass


def test_interrupt_ends_it_as_well(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        assert running.end(signal.SIGINT) == 0


def test_another_trust_domain_than_the_kept_one_is_refused(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--trust-domain", "one.example") as running:
        assert running.status().trust_domain == "one.example"
        running.end()
    with started(tmp_path / "data", "--trust-domain", "two.example") as running:
        assert running.process.wait(30) == 1
    running.reader.join(5)
    assert "error: this CA's trust domain is one.example, not two.example" in running.stderr
    assert running.stderr.count("child.died child=signer") == 1


def test_bad_options_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    for arguments in (
        ["--trust-domain", "Bad Name"],
        ["--listen", "a b"],
        ["--min-ttl", "0s"],
        ["--api-port", "70000"],
    ):
        with started(tmp_path / "data", *arguments) as running:
            assert running.process.wait(30) in (1, 2)
        running.reader.join(5)
        assert running.stderr.startswith("error: ")
    assert not (tmp_path / "data").exists()


def test_kept_port_that_somebody_else_has_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started(tmp_path / "data", "--api-port", str(port)) as running:
            assert running.process.wait(60) == 1
    running.reader.join(5)
    assert f"error: cannot listen on 127.0.0.1:{port} (--api-port): Address already in use" in running.stderr
    assert "add_port.cc" not in running.stderr  # gRPC's own line, at each try


def test_socket_that_another_agent_serves_is_named_and_nothing_is_left_to_complain(tmp_path: Path) -> None:
    with up(tmp_path / "first"):
        served = str(tmp_path / "first" / "run" / "api.sock")
        with started(tmp_path / "second", "--socket", served) as running:
            assert running.process.wait(60) == 1
    running.reader.join(5)
    assert f"error: another program serves {served}" in running.stderr
    assert "Traceback" not in running.stderr


def test_ca_run_has_no_agent_and_says_where_to_join(tmp_path: Path) -> None:
    with started(tmp_path / "data", "--advertise", "ca.example.org", verb=("ca", "run")) as running:
        running.wait_for("the CA is up")
        assert set(running.children()) == {"signer", "front"}
        port = json.loads((tmp_path / "data" / "ports.json").read_text())["bootstrap"]
        assert running.status().bootstrap_address == f"ca.example.org:{port}"
        assert running.end() == 0
        assert running.process.stdout is not None
        assert running.process.stdout.read() == f"ca.example.org:{port}\n"


def test_no_descriptor_of_the_supervisor_reaches_its_children_but_those_they_need(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        lock = os.stat(tmp_path / "data" / "lock").st_ino
        holders = set()
        for name, pid in running.children().items():
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    if fd.stat().st_ino == lock:
                        holders.add(name)
                except OSError:
                    continue
        # Who writes in the directory holds its lock; the front, which strangers talk to, has nothing of it.
        assert holders == {"signer", "agent"}


def test_supervisor_is_light(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        maps = Path(f"/proc/{running.process.pid}/maps").read_text()
        assert "cygrpc" not in maps
        assert "cryptography" not in maps
        pss = sum(
            int(line.split()[1])
            for line in Path(f"/proc/{running.process.pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss:")
        )
        assert pss < 20 * 1024
