"""The verbs that revoke, on real processes: what they kill, what they leave alone, and how it comes back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inborn._internal.source.snapshot import Snapshot
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.x509_svid import X509Svid
from tests.inborn_cli.fixtures_cli import Command
from tests.rigs.fixtures_up import (
    SELECTOR,
    TRUST_DOMAIN,
    Machine,
    Requester,
    serving,
    spiffe_id,
    wait_for_paths,
    wait_for_snapshot,
)
from tests.rigs.up_rig import UP_TIME

BULK = 600  # certificates: above the guard, and more than a chunk of an expansion


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with serving(tmp_path_factory.mktemp("up") / "d") as machine:
        yield machine


@pytest.fixture
def on(inborn: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], Command]:
    """The command, as the admin of a machine types it."""

    def of(machine: Machine) -> Command:
        monkeypatch.setenv("INBORN_DATA_DIR", str(machine.data_dir))
        return inborn

    return of


_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """This process under two identities that nobody had before: one to be hit, and its neighbour."""

    machine: Machine
    source: X509Source
    folder: str

    @property
    def path(self) -> str:
        return f"{self.folder}/web"

    @property
    def neighbour(self) -> str:
        return f"{self.folder}ping"

    def svid(self, path: str) -> X509Svid:
        found = svid_of(self.source.snapshot(), path)
        assert found is not None
        return found

    def is_dead(self, svid: X509Svid) -> bool:
        return is_dead(self.source, svid)

    def options(self) -> dict[str, tuple[str, str]]:
        """Each kind of target that means it: how that is typed, and how a block of it is printed (if there is one)."""
        facts = self.svid(self.path).facts
        entry = self.machine.ledger()[facts.serial.hex()].entry_id
        agent = next(agent for agent in self.machine.agents_listed() if agent.name == "local")
        prefix = spiffe_id(self.folder)
        return {
            "serial": (facts.serial.hex(), ""),
            "key": (facts.key_hash.hex(), f"key:{facts.key_hash.hex()}"),
            "id": (spiffe_id(self.path), f"id:{spiffe_id(self.path)}"),
            "id-prefix": (prefix, f"id-prefix:{prefix}"),
            "entry": (entry, f"entry:{entry}"),
            "agent": ("local", f"node:{agent.spiffe_id}"),
            "selector": (SELECTOR, f"selector:{SELECTOR}"),
        }

    def wait_for_another(self, old: X509Svid) -> None:
        def is_there(snapshot: Snapshot) -> bool:
            new = svid_of(snapshot, old.spiffe_id.path)
            return new is not None and new.facts.key_hash != old.facts.key_hash

        wait_for_snapshot(self.source, is_there, "it has another certificate, for another key", 60)


@pytest.fixture
def workload(up: Machine, on: Callable[[Machine], Command]) -> Iterator[Workload]:
    """Afterwards nothing is registered or blocked."""
    folder = f"/shop{next(_numbers)}"
    entries = [up.entry(path, ttl_seconds=600) for path in (f"{folder}/web", f"{folder}ping")]
    with up.source() as source:
        workload = Workload(machine=up, source=source, folder=folder)
        wait_for_paths(source, workload.path, workload.neighbour)
        yield workload
    command = on(up)
    for block in json.loads(command("blocks list --json").out):
        assert command("unblock", block["target"]).status == 0
    for entry in entries:
        assert command(f"entry delete {entry}").status == 0


def svid_of(snapshot: Snapshot, path: str) -> X509Svid | None:
    return next((svid for svid in snapshot.svids if svid.spiffe_id.path == path), None)


def is_dead(source: X509Source, svid: X509Svid) -> bool:
    return source.snapshot().revocations.find(svid.facts) is not None


@pytest.mark.parametrize("kind", ["serial", "key", "id", "id-prefix", "entry"])
def test_target_is_dead_everywhere_when_the_command_returns_and_its_neighbour_is_not(
    kind: str, up: Machine, workload: Workload, on: Callable[[Machine], Command]
) -> None:
    command = on(up)
    old, neighbour = workload.svid(workload.path), workload.svid(workload.neighbour)
    value, block = workload.options()[kind]
    ran = command("revoke", f"--{kind}", value, "--note", "a test", "--wait", "--json")
    assert ran.status == 0, ran.err
    answer = json.loads(ran.out)
    assert (answer["certificates"], answer["identities"], answer["nodes"]) == (1, 1, 1)
    assert answer["propagation"]["peers"] == answer["propagation"]["applied"] == 1
    assert workload.is_dead(old)
    assert not workload.is_dead(neighbour)
    assert {row["target"] for row in json.loads(command("blocks list --json").out)} == ({block} if block else set())
    if kind not in ("serial", "key"):  # after those it gets another certificate at once
        wait_for_paths(workload.source, workload.neighbour)
    if block:
        assert command("unblock", block).err == f"{block} is no longer blocked\n"
    workload.wait_for_another(old)
    assert workload.is_dead(old)


def test_all_that_was_issued_on_some_evidence_dies_and_comes_back_when_it_is_unblocked(
    up: Machine, workload: Workload, on: Callable[[Machine], Command]
) -> None:
    command = on(up)
    old = workload.source.snapshot().svids
    ran = command("revoke", "--selector", SELECTOR, "--wait", "--json")
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["target"] == f"selector:{SELECTOR}"
    assert all(workload.is_dead(svid) for svid in old)
    wait_for_paths(workload.source)
    assert command("unblock", f"selector:{SELECTOR}").status == 0
    wait_for_paths(workload.source, workload.path, workload.neighbour)
    assert not any(workload.is_dead(svid) for svid in workload.source.snapshot().svids)


def test_reissue_kills_and_brings_another_certificate_without_a_block(
    up: Machine, workload: Workload, on: Callable[[Machine], Command]
) -> None:
    command = on(up)
    old = workload.svid(workload.path)
    assert command(f"revoke --id {spiffe_id(workload.path)} --reissue --reason keyCompromise").status == 0
    workload.wait_for_another(old)
    assert workload.is_dead(old)
    assert command("blocks list").err == "nothing is blocked\n"


@pytest.mark.parametrize("kind", ["serial", "key", "id", "id-prefix", "entry", "agent", "selector"])
def test_dry_run_says_what_would_be_hit_and_hits_nothing(
    kind: str, up: Machine, workload: Workload, on: Callable[[Machine], Command]
) -> None:
    command = on(up)
    svid, before = workload.svid(workload.path), up.status().revocation_seq
    ran = command("revoke", f"--{kind}", workload.options()[kind][0], "--dry-run", "--json")
    assert ran.status == 0, ran.err
    answer = json.loads(ran.out)
    assert answer["dry_run"] is True
    if kind in ("agent", "selector"):  # these hit what other tests have left as well
        assert answer["identities"] >= 2
    else:
        assert (answer["certificates"], answer["examples"]) == (1, [spiffe_id(workload.path)])
    assert up.status().revocation_seq == before
    assert command("blocks list").err == "nothing is blocked\n"
    assert workload.svid(workload.path) == svid


async def test_bulk_guard_wants_the_number_and_the_expansion_is_waited_for(
    up: Machine, on: Callable[[Machine], Command]
) -> None:
    command = on(up)
    requester = await Requester.enroll(up.token(name="bulk"), up.bootstrap_address)
    entry = up.entry("/bulk", node="name:bulk", ttl_seconds=3600)
    try:
        while (left := BULK - len(json.loads(command(f"certs list --json --entry {entry}").out))) > 0:
            issued = await requester.issue(*[entry] * min(100, left), timeout=60)
            assert all(isinstance(der, bytes) for der in issued)
    finally:
        await requester.client.close()
    before = up.status().revocation_seq
    ran = command(f"revoke --entry {entry}")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[1:] == [
        f"error: {BULK} certificates would be hit, more than 500",
        f"hint: if that is meant: --expect-count {BULK}",
    ]
    assert command(f"revoke --entry {entry} --expect-count {BULK // 2}").status == 1
    assert up.status().revocation_seq == before
    ran = command(f"revoke --entry {entry} --expect-count {BULK} --wait 30s --json")
    assert ran.status == 0, ran.err
    answer = json.loads(ran.out)
    assert (answer["certificates"], answer["nodes"]) == (BULK, 1)
    assert answer["revocation_seq"] == before + BULK
    assert all(row.revoked_by for row in up.ledger().values() if row.entry_id == entry)
    shown = command(f"revocations show {before + BULK}")
    assert "target       serial:" in shown.out
    assert "applied      by 1 of 1 connected peers" in shown.out
    status = json.loads(command("revocations status --json").out)
    assert status["revocation_seq"] == before + BULK
    applied = {agent["name"]: agent["revocation_seq"] for agent in status["agents"] if agent["heard_at"]}
    assert applied == {"local": before + BULK}
    assert command(f"unblock entry:{entry}").status == 0
    assert command(f"entry delete {entry}").status == 0


def test_evicted_agent_of_this_machine_enrolls_again_and_its_workloads_have_new_certificates(
    machine: Machine, on: Callable[[Machine], Command]
) -> None:
    command = on(machine)
    machine.entry("/web", ttl_seconds=600)
    with machine.source() as source:
        wait_for_paths(source, "/web")
        old = source.svid
        (agent,) = machine.agents_listed()
        ran = command("agent evict local --reason keyCompromise --wait")
        assert ran.status == 0, ran.err
        assert f"revoked       node:{agent.spiffe_id}" in ran.out
        assert all(row.revoked_by for row in machine.ledger().values() if row.serial == old.facts.serial.hex())
        wait_for_another_key(source, old)
        assert is_dead(source, old)
        (again,) = machine.agents_listed()
        assert (again.spiffe_id, again.state) == (agent.spiffe_id, "active")
        assert command("blocks list").err == "nothing is blocked\n"


def wait_for_another_key(source: X509Source, old: X509Svid) -> None:
    wait_for_snapshot(
        source,
        lambda s: any(svid.facts.key_hash != old.facts.key_hash for svid in s.svids),
        "the workload has another certificate",
        60,
    )


def test_evicted_agent_of_another_machine_comes_back_with_a_new_token_and_a_banned_one_does_not(
    machines: Callable[..., Machine], on: Callable[[Machine], Command], tmp_path: Path
) -> None:
    ca, node = machines("ca", verb=("ca", "run")), machines("node")
    ca.start()
    command = on(ca)
    token = tmp_path / "token"
    token.write_text(command("token create --name edge").out, encoding="ascii")
    arguments = ["agent", "run", "--ca", ca.bootstrap_address, "--data-dir", str(node.data_dir)]
    agent = node.spawn([*arguments, "--join-token-file", str(token), "--docker-socket", ""], node.data_dir)
    node.agents.append(agent)
    agent.wait_for("ready socket=", UP_TIME)
    ca.entry("/web", node="name:edge", ttl_seconds=600)
    with node.source() as source:
        wait_for_paths(source, "/web")
        old = source.svid
        ran = command("agent evict edge --wait")
        assert ran.status == 0, ran.err
        agent.wait_for("agent.needs_evidence", 30)
        token.write_text(command("token create --agent edge").out, encoding="ascii")
        wait_for_another_key(source, old)
        assert is_dead(source, old)
        new = source.svid
        ran = command("agent", "ban", "edge", "--reason", "stolen from the rack", "--wait", "--json")
        assert ran.status == 0, ran.err
        assert json.loads(ran.out)["certificates"] >= 2
        assert ca.ledger()[new.facts.serial.hex()].revoked_by
        assert [row["state"] for row in json.loads(command("agent list --json").out)] == ["banned"]
        token.write_text(command("token create --agent edge").out, encoding="ascii")
        agent.wait_for("agent.enrollment_refused", 30)


def test_id_of_the_ca_and_of_another_domain_are_refused(up: Machine, on: Callable[[Machine], Command]) -> None:
    command = on(up)
    for value in (f"spiffe://{TRUST_DOMAIN}/inborn/health", "spiffe://other.example/web"):
        assert command(f"revoke --id {value}").status == 1
    for target in ("id:nonsense", "cabbage:x", "entry:", f"id:{spiffe_id('/never')}"):
        ran = command("unblock", target)
        assert ran.status == 1
        assert ran.err.startswith("error: ")
