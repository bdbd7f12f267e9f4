"""Verbs that ask the agent: why, status, doctor; against a double that speaks gRPC on real sockets."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from inborn._internal.rpc.services import service_handler
from inborn.errors import DeniedError, NotFoundError
from inborn_cli.doctor.host_checks import (
    Verdict,
    check_admin_directory,
    check_clock,
    check_endpoint,
    check_memory,
    check_pinning,
    check_ptrace,
    check_swap,
)
from inborn_cli.output import as_document
from inborn_cli.workload.memory import file_system_of, private_memory_directory
from inborn_proto import admin_pb2, agent_pb2
from tests.inborn_cli.fixtures_cli import AGENT, ENTRY_ID, POLICY_ID, WEB, Command, FakeCa
from tests.rigs.open_guard import refuse_nobody


class FakeAgent:
    """Answers `Local` and `AgentAdmin` with what a test has put there."""

    def __init__(self) -> None:
        self.why = agent_pb2.WhyResponse(pid=4711, selectors=["unix:uid:1000"], pinned_by="SO_PEERPIDFD")
        now = round(time.time() * 1000)
        self.status = agent_pb2.AgentStatus(
            spiffe_id=AGENT,
            svid_expires_ms=now + 86_400_000,
            connected=True,
            last_heard_ms=1500,
            revocation_seq=17,
            entries=3,
            cached_svids=2,
            connections=4,
            pinned_by="SO_PEERPIDFD",
            started_ms=now - 5000,
            ca_address="ca.example.org:8444",
        )
        self.headers: list[tuple[str, object]] = []
        self.refused = agent_pb2.WhyResponse().entries

    def Why(self, request: agent_pb2.WhyRequest, context: grpc.ServicerContext) -> agent_pb2.WhyResponse:
        self.headers = [(key, value) for key, value in context.invocation_metadata()]
        return self.why

    def WhyProcess(self, request: agent_pb2.WhyProcessRequest, context: object) -> agent_pb2.WhyResponse:
        if request.pid != 4711:
            raise NotFoundError(f"there is no process {request.pid}")
        told = agent_pb2.WhyResponse()
        told.CopyFrom(self.why)
        told.hints.append("no permission to read the executable\x1b[2J")
        told.entries.add(entry_id=ENTRY_ID, spiffe_id=WEB)
        told.entries.add(entry_id="e2", spiffe_id=f"{WEB}2", missing=["unix:uid:0", "unix:path:/opt/x"])
        told.entries.extend(self.refused)
        return told

    def GetStatus(self, request: agent_pb2.AgentStatusRequest, context: object) -> agent_pb2.AgentStatus:
        return self.status


@pytest.fixture
def agent(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    double = FakeAgent()
    server = grpc.server(ThreadPoolExecutor(2))
    services = agent_pb2.DESCRIPTOR.services_by_name
    server.add_generic_rpc_handlers(
        [service_handler(services[name], double, refuse_nobody) for name in ("Local", "AgentAdmin")]
    )
    for directory in ("run", "agent"):
        (short_dir / directory).mkdir()
    server.add_insecure_port(f"unix:{short_dir}/run/api.sock")
    server.add_insecure_port(f"unix:{short_dir}/agent/admin.sock")
    server.start()
    monkeypatch.setenv("INBORN_DATA_DIR", str(short_dir))
    yield double
    server.stop(None).wait()


def test_why_shows_ones_own_selectors(agent: FakeAgent, inborn: Command) -> None:
    ran = inborn("why")
    assert ran.status == 0
    assert ran.out == "process 4711, pinned by SO_PEERPIDFD\n  has unix:uid:1000  (kernel)\n"
    assert "sudo inborn why --pid" in ran.err
    assert ("workload.spiffe.io", "true") in agent.headers


def test_named_endpoint_comes_before_the_data_directory_of_the_environment(
    agent: FakeAgent, inborn: Command, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", f"unix://{short_dir}/none.sock")
    assert f"no agent listens at {short_dir}/none.sock" in inborn("why").err
    assert inborn("why", "--data-dir", str(short_dir)).status == 0


def test_why_of_a_process_names_what_is_missing(agent: FakeAgent, inborn: Command) -> None:
    ran = inborn("why --pid 4711")
    assert ran.out.splitlines() == [
        "process 4711, pinned by SO_PEERPIDFD",
        "  has unix:uid:1000  (kernel)",
        "  unknown: no permission to read the executable?[2J",
        f"entry {ENTRY_ID} matches: {WEB}",
        f"entry e2 misses unix:uid:0 unix:path:/opt/x: {WEB}2",
    ]
    assert json.loads(inborn("why --pid 4711 --json").out)["entries"][1]["missing"] == [
        "unix:uid:0",
        "unix:path:/opt/x",
    ]


def test_why_tells_whose_word_each_selector_is(agent: FakeAgent, inborn: Command) -> None:
    words = {
        "docker:image_config_digest:sha256:00": "runtime",
        "docker:label:app:web": "starter",
        "posture:rootfs:ro": "kernel",
    }
    agent.why.selectors[:] = sorted(words)
    assert json.loads(inborn("why --json").out)["trust"] == words
    assert inborn("why").out.splitlines()[1:] == [
        f"  has {selector}  ({words[selector]})" for selector in sorted(words)
    ]


def test_why_names_the_policy_that_refuses_where_the_ca_is_here(
    agent: FakeAgent, fake_ca: FakeCa, inborn: Command
) -> None:
    seccomp = "posture:seccomp:filter|posture:seccomp:strict"
    agent.refused.add(entry_id="e3", spiffe_id=f"{WEB}/3", missing=["unix:gid:1"], unmet=[seccomp])
    agent.refused.add(entry_id="e4", spiffe_id="spiffe://example.org/other", unmet=[seccomp])
    ran = inborn("why --pid 4711")
    assert ran.out.splitlines()[-3:] == [
        f"entry e3 misses unix:gid:1, is refused by a policy that demands {seccomp}: {WEB}/3",
        f"  refused by policy {POLICY_ID} for {WEB}: locked in?[2J",
        f"entry e4 is refused by a policy that demands {seccomp}: spiffe://example.org/other",
    ]
    entries = json.loads(inborn("why --pid 4711 --json").out)["entries"]
    assert [entry["policies"] for entry in entries] == [[], [], [POLICY_ID], []]


def test_why_does_without_the_ca(agent: FakeAgent, inborn: Command) -> None:
    agent.refused.add(entry_id="e4", spiffe_id=WEB, unmet=["posture:rootfs:ro"])
    ran = inborn("why --pid 4711")
    assert ran.status == 0
    assert ran.out.splitlines()[-1] == f"entry e4 is refused by a policy that demands posture:rootfs:ro: {WEB}"


def test_doctor_names_the_entries_that_rest_on_too_little(agent: FakeAgent, fake_ca: FakeCa, inborn: Command) -> None:
    weak = admin_pb2.Entry(id="weak", spiffe_id=f"{WEB}/weak", node="any", selectors=["unix:path:/bin/sh"])
    fake_ca.entries["weak"] = weak
    found = [f for f in json.loads(inborn("doctor --json").out) if f["name"] in ("entries", "entry")]
    assert [f["verdict"] for f in found] == ["warning", "warning"]
    assert found[0]["found"] == "1 of 2 should be looked at"
    assert "tells programs apart" in found[1]["found"]
    assert "any node" in found[1]["found"]
    assert found[1]["hint"] == "inborn entry show weak"
    del fake_ca.entries["weak"]
    assert "none of them rests on too little" in inborn("doctor").out


def test_doctor_is_silent_about_entries_where_no_ca_answers(agent: FakeAgent, inborn: Command) -> None:
    assert not [f for f in json.loads(inborn("doctor --json").out) if f["name"] in ("entries", "entry")]


def test_error_of_the_agent_is_shown(agent: FakeAgent, inborn: Command) -> None:
    ran = inborn("why --pid 1")
    assert (ran.status, ran.out, ran.err) == (1, "", "error: there is no process 1\n")


@pytest.mark.parametrize("pid", ["0", "-1", "x", "2147483648"])
def test_bad_process_number_is_a_usage_error(pid: str, inborn: Command) -> None:
    assert inborn("why", f"--pid={pid}").status == 2


def test_agent_that_does_not_run_is_said(inborn: Command, short_dir: Path) -> None:
    ran = inborn("why", "--socket", f"unix://{short_dir}/none.sock")
    assert ran.status == 1
    assert ran.err.startswith(f"error: no agent listens at {short_dir}/none.sock\nhint: ")


def test_status_of_an_agent_alone_does_not_miss_a_ca(agent: FakeAgent, inborn: Command) -> None:
    ran = inborn("status")
    assert (ran.status, ran.err) == (0, "")
    assert f"spiffe id       {AGENT}" in ran.out
    assert "ca.example.org:8444, connected, heard 1s ago" in ran.out
    document = json.loads(inborn("status --json").out)
    assert document["ca"] is None
    assert document["is_well"] is True
    assert document["agent"]["svid_expires_at"].endswith("Z")
    assert "svid_expires_ms" not in document["agent"]


def test_status_joins_ca_and_agent(agent: FakeAgent, fake_ca: FakeCa, inborn: Command) -> None:
    ran = inborn("status")
    assert ran.status == 0
    assert "trust domain  example.org" in ran.out
    assert AGENT in ran.out


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"connected": False, "last_heard_ms": 90_000}, "the agent has no stream from the CA; last heard 1m30s ago"),
        ({"last_heard_ms": 120_000}, "the agent has heard nothing from the CA for 2m"),
        ({"svid_expires_ms": 1_700_000_000_000}, "the agent's own certificate expired at 2023-11-14T22:13:20Z"),
        ({"alarms": ["2026-11-20T12:00:00Z FeedGap: x"]}, "alarm of the agent: 2026-11-20T12:00:00Z FeedGap: x"),
    ],
)
def test_ill_agent_makes_status_fail(
    change: dict[str, object], problem: str, agent: FakeAgent, inborn: Command
) -> None:
    agent.status.MergeFrom(agent_pb2.AgentStatus(**change))  # type: ignore[arg-type]
    agent.status.connected = bool(change.get("connected", True))
    ran = inborn("status")
    assert ran.status == 1
    assert f"error: {problem}\n" in ran.err


def test_agent_beside_a_ca_of_another_trust_domain_makes_status_fail(
    agent: FakeAgent, fake_ca: FakeCa, inborn: Command
) -> None:
    agent.status.spiffe_id = "spiffe://old.org/inborn/agent/1"
    ran = inborn("status")
    assert ran.status == 1
    assert "error: the agent is spiffe://old.org/inborn/agent/1, the CA is of example.org\nhint: " in ran.err


def test_part_that_should_run_and_does_not_makes_status_fail(inborn: Command, short_dir: Path) -> None:
    (short_dir / "ca").mkdir()
    (short_dir / "agent").mkdir()
    ran = inborn("status", "--data-dir", str(short_dir))
    assert ran.status == 1
    assert "error: the CA does not run: " in ran.err
    assert "error: the agent does not run: " in ran.err
    document = json.loads(inborn("status", "--json", "--data-dir", str(short_dir)).out)
    assert len(document["problems"]) == 2


def test_nothing_here_makes_status_fail(inborn: Command, short_dir: Path) -> None:
    ran = inborn("status", "--data-dir", str(short_dir))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"error: nothing of Inborn is in {short_dir}\nhint: ")


def test_agent_that_refuses_is_no_agent_that_does_not_run(
    agent: FakeAgent, inborn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: object, context: object) -> agent_pb2.AgentStatus:
        raise DeniedError("only root may ask")

    agent.GetStatus = refuse  # type: ignore[method-assign]
    handlers = agent_pb2.DESCRIPTOR.services_by_name["AgentAdmin"]
    assert handlers is not None
    server = grpc.server(ThreadPoolExecutor(1), handlers=[service_handler(handlers, agent, refuse_nobody)])
    socket = Path(os.environ["INBORN_DATA_DIR"]) / "other.sock"
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    ran = inborn("status", "--agent-socket", str(socket))
    server.stop(None).wait()
    assert ran.status == 1
    assert "error: the agent cannot be asked: only root may ask" in ran.err


def test_doctor_says_what_each_finding_cannot_stop(agent: FakeAgent, inborn: Command) -> None:
    ran = inborn("doctor --json")
    findings = json.loads(ran.out)
    assert [finding["name"] for finding in findings] == ["pinning", "users", "keys", "swap", "clock", "agent", "CA"]
    for finding in findings:
        assert finding["verdict"] == "ok" or finding["cannot_stop"]
    is_ill = any(finding["verdict"] == "failed" for finding in findings)
    assert ran.status == int(is_ill)
    text = inborn("doctor").out
    for finding in findings:
        assert finding["found"] in text
        assert finding["cannot_stop"] in text


def test_doctor_fails_without_an_agent(inborn: Command, short_dir: Path) -> None:
    ran = inborn("doctor", "--socket", f"{short_dir}/none.sock")
    assert ran.status == 1
    assert f"failed   agent    unix://{short_dir}/none.sock: no such file or directory" in ran.out


def test_host_is_looked_at_without_a_change(short_dir: Path) -> None:
    assert check_pinning().verdict in (Verdict.OK, Verdict.WARNING)
    assert check_ptrace().name == "users"
    assert check_memory().name == "keys"
    assert check_endpoint(f"unix://{short_dir}/none").verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("swaps", "verdict"),
    [
        ("Filename Type Size Used Priority\n", Verdict.OK),
        ("Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n", Verdict.OK),
        ("Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n", Verdict.WARNING),
    ],
)
def test_swap_on_a_disk_draws_a_warning(swaps: str, verdict: Verdict, tmp_path: Path) -> None:
    (tmp_path / "swaps").write_text(swaps, encoding="ascii")
    assert check_swap(tmp_path / "swaps").verdict is verdict


def test_clock_that_was_never_set_fails() -> None:
    assert check_clock(dt.datetime(1970, 1, 2, tzinfo=dt.UTC)).verdict is Verdict.FAILED
    assert check_clock(dt.datetime(2026, 1, 2, tzinfo=dt.UTC)).verdict is not Verdict.FAILED


def test_admin_directory_that_others_can_enter_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert check_admin_directory(tmp_path).verdict is Verdict.FAILED
    tmp_path.chmod(0o700)
    assert check_admin_directory(tmp_path).verdict is Verdict.OK
    assert check_admin_directory(tmp_path / "none").found == "none here"


def test_directory_in_memory_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"relative:{tmp_path}:/proc")
    found = private_memory_directory()
    assert found is None or file_system_of(found) in ("tmpfs", "ramfs")
    assert found != Path("/proc")
    assert file_system_of(Path("/proc")) == "proc"
    assert file_system_of(tmp_path / "none") == ""


def test_messages_become_json_with_every_field() -> None:
    response = admin_pb2.CreateTokenResponse(token="t")
    assert as_document(response) == {"token": "t", "info": None, "bootstrap_address": ""}
    identities = agent_pb2.Identities(bundles={"b.org": b"\x02", "a.org": b"\x01"}, crls=[b"\xff"])
    assert as_document(identities)["bundles"] == {"a.org": "01", "b.org": "02"}
    assert as_document(identities)["crls"] == ["ff"]
    assert as_document(admin_pb2.Certificate(revoked_by=2**63))["revoked_by"] == 2**63


def test_threads_of_a_command_end_with_it(agent: FakeAgent, inborn: Command) -> None:
    inborn("why")
    before = threading.active_count()
    for _ in range(3):
        inborn("why")
    assert threading.active_count() <= before + 1
