"""Policies on posture and what becomes of workloads that no longer qualify: against `inborn up`, with real
processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.host.paths import workload_socket
from inborn._internal.source.x509_source import X509Source
from inborn_proto import admin_pb2
from tests.inborn_cli.fixtures_cli import Command
from tests.rigs.fixtures_up import SELECTOR, Machine, serving, spiffe_id, wait_for_snapshot
from tests.rigs.up_rig import environment

PATIENCE = 30.0  # seconds: several heartbeats of the CA
SECCOMP = "posture:seccomp:filter"
GROUP = 4711
ROOT = Path(__file__).resolve().parents[2]


class Workload:
    """A process that does as it is told; what it says is kept in order."""

    def __init__(self, machine: Machine) -> None:
        env = environment()
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.rigs.obedient_workload", str(workload_socket(machine.data_dir))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=ROOT,
        )
        self._said: list[dict[str, Any]] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._said.append(json.loads(line))
                self._news.notify_all()

    def tell(self, *words: str) -> None:
        """Have it do these things, one after the other."""
        assert self.process.stdin is not None
        for word in words:
            self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self, **wanted: Any) -> dict[str, Any]:
        """The next thing that it says with these facts; what it said before that is forgotten."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for number, said in enumerate(self._said):
                    if all(key in said and (value is ... or said[key] == value) for key, value in wanted.items()):
                        del self._said[: number + 1]
                        return said
                assert self._news.wait(deadline - time.monotonic()), f"it never said {wanted}, but {self._said}"

    def serial(self, path: str) -> str:
        """The serial of the next SVID for that path that it is given."""
        while True:
            svids: dict[str, str] = self.hear(svids=...)["svids"]
            if path in svids:
                return svids[path]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with serving(tmp_path_factory.mktemp("m") / "d") as machine:
        yield machine


@pytest.fixture
def workloads(machine: Machine) -> Iterator[Any]:
    made: list[Workload] = []

    def start(*words: str) -> Workload:
        made.append(Workload(machine))
        made[-1].tell(*words)
        return made[-1]

    yield start
    for one in made:
        one.end()
    for entry in machine.ask("ListEntries", admin_pb2.ListEntriesRequest()).entries:
        machine.ask("DeleteEntry", admin_pb2.EntryRequest(id=entry.id))
    for policy in machine.ask("ListPosturePolicies", admin_pb2.ListPosturePoliciesRequest()).policies:
        machine.ask("DeletePosturePolicy", admin_pb2.DeletePosturePolicyRequest(id=policy.id))


def wait_revoked(source: X509Source, *serials: str) -> None:
    """Until this process's library refuses them."""
    wanted = {bytes.fromhex(serial) for serial in serials}

    def all_dead(snapshot: Any) -> bool:
        return wanted <= {revocation.value for revocation in snapshot.revocations}

    wait_for_snapshot(source, all_dead, f"revocation of {serials}", PATIENCE)


def test_a_rule_refuses_by_the_missing_fact_and_takes_whoever_is_locked_in(
    machine: Machine, workloads: Any, inborn: Command
) -> None:
    entry = machine.entry("/prod/db", ttl_seconds=600)
    where = f"--data-dir {machine.data_dir}"
    loose, waiting = workloads("fetch"), workloads("attend")
    for one in (loose, waiting):
        one.serial("/prod/db")

    # A new policy is a reason to read the facts again: who does not meet it has nothing any more, at once.
    ran = inborn(f"posture create --id-prefix {spiffe_id('/prod')} --demand seccomp --note because {where}")
    assert ran.status == 0, ran.err
    policy_id = ran.out.strip()
    assert loose.hear(end=...) == {"end": "PERMISSION_DENIED", "details": "no identity issued"}
    assert SECCOMP in waiting.hear(svids={})["reason"]
    assert f"{SECCOMP} or posture:seccomp:strict" in inborn(f"entry show {entry} {where}").out

    # Root is told which policy it was.
    ran = inborn(f"why --pid {loose.process.pid} {where}")
    assert f"entry {entry} is refused by a policy that demands {SECCOMP}|" in ran.out, ran.out + ran.err
    assert f"refused by policy {policy_id} for {spiffe_id('/prod')}: because" in ran.out
    assert "has posture:seccomp:off  (kernel)" in ran.out

    # Who is locked in has it, also who locked itself in after it was refused.
    locked = workloads("seccomp", "fetch")
    serial = locked.serial("/prod/db")
    row = machine.ask("GetCertificate", admin_pb2.GetCertificateRequest(serial=serial))
    assert row.serial == serial
    waiting.tell("seccomp")
    waiting.serial("/prod/db")

    # Without the policy the entry alone counts.
    assert inborn(f"posture delete {policy_id} {where}").status == 0
    loose.tell("fetch")
    loose.serial("/prod/db")


def test_the_ledger_says_what_was_seen_when_it_was_issued(machine: Machine, workloads: Any) -> None:
    machine.ask(
        "CreatePosturePolicy", admin_pb2.CreatePosturePolicyRequest(id_prefix=spiffe_id("/seen"), demands=["seccomp"])
    )
    machine.entry("/seen", ttl_seconds=600)
    serial = workloads("seccomp", "fetch").serial("/seen")
    row = machine.ask("GetCertificate", admin_pb2.GetCertificateRequest(serial=serial))
    assert {SECCOMP, SELECTOR, "posture:no_new_privs:true"} <= set(row.selectors)


def test_what_a_process_had_is_revoked_when_the_last_one_that_had_it_ends(machine: Machine, workloads: Any) -> None:
    machine.entry("/watch", ttl_seconds=3600)
    machine.entry("/lost", selectors=[SELECTOR, SECCOMP], ttl_seconds=3600, revoke_when_lost=True)
    machine.entry("/kept", selectors=[SELECTOR, SECCOMP], ttl_seconds=3600)
    with machine.source() as source:
        first, second = workloads("seccomp", "fetch"), workloads("seccomp", "attend")
        had = first.hear(svids=...)["svids"]
        while set(had) != {"/watch", "/lost", "/kept"}:
            had = first.hear(svids=...)["svids"]
        assert second.serial("/lost") == had["/lost"], "one node's workloads of one entry share it"
        first.end()
        # Hanging up is not ending.
        second.tell("hang-up")
        second.hear(done="hang-up")
        second.end()
        wait_revoked(source, had["/lost"])
        dead = {revocation.value.hex() for revocation in source.snapshot().revocations}
        assert not dead & {had["/watch"], had["/kept"]}, "only where the entry says so"
        # Who comes next gets another one, for another key.
        third = workloads("seccomp", "fetch")
        assert third.serial("/lost") != had["/lost"]


def test_while_another_process_has_it_nothing_is_revoked(machine: Machine, workloads: Any) -> None:
    machine.entry("/watch", ttl_seconds=3600)
    machine.entry("/shared", selectors=[SELECTOR, SECCOMP], ttl_seconds=3600, revoke_when_lost=True)
    with machine.source() as source:
        first, second = workloads("seccomp", "fetch"), workloads("seccomp", "fetch")
        serial = first.serial("/shared")
        assert second.serial("/shared") == serial
        second.tell("hang-up")
        second.hear(done="hang-up")
        first.end()
        # Something that is revoked after that shows that it was not.
        machine.entry("/after", selectors=[SELECTOR, SECCOMP], ttl_seconds=3600, revoke_when_lost=True)
        third = workloads("seccomp", "fetch")
        after = third.serial("/after")
        third.end()
        wait_revoked(source, after)
        assert bytes.fromhex(serial) not in {revocation.value for revocation in source.snapshot().revocations}
        second.end()
        wait_revoked(source, serial)


@pytest.mark.root
def test_who_becomes_another_program_user_or_group_loses_what_it_had(machine: Machine, workloads: Any) -> None:
    machine.entry("/watch", ttl_seconds=3600)
    paths = ("/exec", "/user", "/group")
    for number, path in enumerate(paths):
        selectors = [SELECTOR, f"unix:supplementary_gid:{GROUP + number}"]
        machine.entry(path, selectors=selectors, ttl_seconds=3600, revoke_when_lost=True)
    with machine.source() as source:
        started = [workloads(f"groups {GROUP + number}", "attend") for number in range(3)]
        serials = [one.serial(path) for one, path in zip(started, paths, strict=True)]
        program, user, group = started
        program.tell("exec")
        program.hear(done="exec")
        user.tell("user 65534")
        group.tell("groups 1")
        wait_revoked(source, *serials)
        assert group.serial("/watch"), "what it still qualifies for it keeps"
        user.hear(end=...)
        assert program.process.poll() is None
    rows = machine.ask("ListAudit", admin_pb2.ListAuditRequest(action="revoke.own", limit=100)).rows
    assert any("no longer shows" in row.detail for row in rows)
    assert any("became another program or user" in row.detail for row in rows)


@pytest.mark.root
def test_facts_are_read_again_before_a_renewal_is_pushed_and_when_the_entry_changes(
    machine: Machine, workloads: Any
) -> None:
    renewed = machine.entry("/renewed", selectors=[f"unix:supplementary_gid:{GROUP}"], ttl_seconds=2)
    one = workloads(f"groups {GROUP}", "fetch")
    first = one.serial("/renewed")
    assert one.serial("/renewed") != first
    one.tell("groups 1")
    assert one.hear(end=...) == {"end": "PERMISSION_DENIED", "details": "no identity issued"}
    machine.ask("DeleteEntry", admin_pb2.EntryRequest(id=renewed))

    changed = machine.entry("/changed", selectors=[f"unix:supplementary_gid:{GROUP}"], ttl_seconds=3600)
    other = workloads(f"groups {GROUP}", "fetch")
    other.serial("/changed")
    other.tell("groups 1")
    other.hear(done="groups")
    request = admin_pb2.UpdateEntryRequest(id=changed, set=["hint"], hint="another word")
    machine.ask("UpdateEntry", request)
    assert other.hear(end=...)["end"] == "PERMISSION_DENIED"


def test_a_process_may_ask_for_whatever_a_rule_refuses_it_and_is_not_given_it_by_any_service(
    machine: Machine, workloads: Any
) -> None:
    """The agent's cache holds the SVID for another process of the same user all the while."""
    machine.ask(
        "CreatePosturePolicy", admin_pb2.CreatePosturePolicyRequest(id_prefix=spiffe_id("/prod"), demands=["seccomp"])
    )
    machine.entry("/prod/db", ttl_seconds=600)
    locked = workloads("seccomp", "fetch")
    locked.serial("/prod/db")
    asked = admin_pb2.ListAuditRequest(action="svid.issue")
    before = machine.ask("ListAudit", asked).rows
    for _ in range(3):
        loose = workloads("attend", "fetch")
        assert SECCOMP in loose.hear(svids={})["reason"]
        loose.tell("fetch")
        assert loose.hear(end=...)["end"] == "PERMISSION_DENIED"
    assert machine.ask("ListAudit", asked).rows == before, "the CA was not even asked"
