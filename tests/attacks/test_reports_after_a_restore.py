"""After a restore the CA listens to what agents still know. What an agent, or somebody else, could make of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.revocation.revocation_set import CertificateRevoked, Revocation, RevocationKind
from inborn._internal.wire.messages import InvalidMessage, revocation_to_wire
from inborn._internal.wire.signed_request import BadSignature
from inborn.errors import AlreadyExistsError, DeniedError, ExhaustedError, InbornError, NotFoundError, RequestError
from inborn_ca.signer.commands import findings
from inborn_ca.signer.commands.authority_order import read_order
from inborn_ca.signer.commands.findings import REPORT_METHOD, Findings, NotFormerLog
from inborn_ca.signer.requesters.signed import Banned, UnknownRequester
from inborn_ca.signer.restore import restore
from inborn_ca.signer.state import Blocked
from inborn_proto import admin_pb2, ca_pb2, signer_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench, Holder, open_bench

PASSPHRASE = b"correct horse battery"
WEB = "spiffe://example.org/web"


@dataclass
class Restored:
    """A CA before and after, an agent and a daemon from before the backup, and an agent that renewed after it."""

    before: CaBench
    now: CaBench
    agent: Holder
    renewed: Holder
    daemon: Holder
    former: bytes
    revocations: list[Revocation]
    """Of the former log, from after the backup."""

    def __post_init__(self) -> None:
        self.seconds = 0.0
        self.findings = Findings(self.now.state, monotonic=lambda: self.seconds)

    def report(
        self, who: Holder, *rules: Revocation, former: bytes | None = None, chain: Any = None, **changed: Any
    ) -> ca_pb2.ReportResponse:
        request = ca_pb2.ReportRequest(
            former_log_id=self.former if former is None else former,
            revocations=[revocation_to_wire(rule) for rule in rules],
            chain=who.response.chain if chain is None else chain,
        )
        signed = who.sign(REPORT_METHOD, request.SerializeToString(), **{"log_id": self.now.state.log_id, **changed})
        response: ca_pb2.ReportResponse = self.now.run(
            self.findings.report(signer_pb2.ForwardedRequest(request=signed, origin="192.0.2.1:1"))
        )
        return response

    def accept(self, number: int) -> admin_pb2.Finding:
        finding: admin_pb2.Finding = self.now.run(
            self.findings.accept(admin_pb2.AcceptFindingRequest(id=number), ADMIN)
        )
        return finding

    def found(self, *, all: bool = False) -> list[admin_pb2.Finding]:
        return list(self.findings.list(self.now.reader, admin_pb2.ListFindingsRequest(all=all)).findings)

    def unchanged(self) -> Callable[[], bool]:
        """Says whether nothing was taken since."""
        seq = self.now.state.revocations.seq
        return lambda: self.now.state.revocations.seq == seq and not self.found(all=True)


@pytest.fixture
def restored(ca_bench: CaBench, tmp_path: Path) -> Restored:
    ca = ca_bench
    agent, other = ca.enroll(name="one"), ca.enroll(name="two")
    daemon = ca.enroll(spiffe_id="spiffe://example.org/db")
    ca.revoke(spiffe_id="spiffe://example.org/old")
    ids = [a.key_id for a in ca.state.authorities]
    backup = tmp_path / "backup.db"
    ca.state.store.backup(backup, keys=[(i, ca.state.keys.export_encrypted(i, PASSPHRASE)) for i in ids])
    ca.clock.advance(seconds=1)
    renewed = ca.renew(other)
    ca.revoke(spiffe_id=WEB)
    ca.revoke(spiffe_id="spiffe://example.org/api", reissue=True)
    rules = [rule for rule in ca.state.revocations if rule.seq > 1]
    restore(backup, tmp_path / "new", passphrase=PASSPHRASE, clock=ca.clock)
    ca.clock.advance(seconds=1)
    now = open_bench(tmp_path / "new", ca.clock)
    return Restored(
        before=ca, now=now, agent=agent, renewed=renewed, daemon=daemon, former=ca.state.log_id, revocations=rules
    )


def test_denials_hold_at_once_with_their_blocks_and_one_alarm(restored: Restored) -> None:
    first = restored.report(restored.agent, *restored.revocations)
    assert (first.revocations, first.unknown) == (2, False)
    state = restored.now.state
    *_, log = state.revocations.logs()
    assert all(log.covers(rule) for rule in restored.revocations)
    assert {b.target for b in restored.now.reader.blocks.all()} == {f"id:{WEB}", "id:spiffe://example.org/old"}
    again = restored.report(restored.renewed, *restored.revocations)
    assert again.revocations == 0
    assert state.revocations.seq == first.revocation_seq
    assert [f.subject for f in restored.found(all=True) if f.kind == "revocation"] == [
        f"id:{WEB}",
        "id:spiffe://example.org/api",
    ]
    assert [alarm.kind for alarm in restored.now.reader.audit.alarms()] == ["restore.findings"]
    assert restored.now.reader.audit.rows(after_id=0, limit=100, action="restore.report")[0].actor.endswith(
        restored.agent.spiffe_id
    )


def test_agent_that_renewed_after_the_backup_goes_on_when_it_is_accepted(restored: Restored) -> None:
    with pytest.raises(UnknownRequester):
        restored.now.renew(restored.renewed, log_id=restored.now.state.log_id)
    assert restored.report(restored.renewed).certificates == 1
    assert restored.report(restored.renewed).certificates == 0
    (finding,) = restored.found()
    assert (finding.kind, finding.reporter) == ("certificate", restored.renewed.spiffe_id)
    with pytest.raises(UnknownRequester):
        restored.now.renew(restored.renewed, log_id=restored.now.state.log_id)
    assert restored.accept(finding.id).accepted_by == ADMIN
    assert restored.found() == []
    successor = restored.now.renew(restored.renewed, log_id=restored.now.state.log_id)
    assert successor.spiffe_id == restored.renewed.spiffe_id
    with pytest.raises(AlreadyExistsError):
        restored.accept(finding.id)
    with pytest.raises(NotFoundError):
        restored.accept(99)


def test_report_of_another_log_is_refused(restored: Restored) -> None:
    is_unchanged = restored.unchanged()
    for who in (restored.agent, restored.renewed):
        for other in (restored.now.state.log_id, b"x" * 16):
            with pytest.raises(NotFormerLog):
                restored.report(who, *restored.revocations, former=other)
    with pytest.raises(RequestError, match="not 16"):
        restored.report(restored.agent, former=b"x")
    assert is_unchanged()


def test_ca_that_was_never_restored_takes_no_report(restored: Restored) -> None:
    state = restored.before.state
    never = Findings(state)
    request = ca_pb2.ReportRequest(
        former_log_id=state.log_id, revocations=[revocation_to_wire(restored.revocations[0])]
    )
    signed = restored.agent.sign(REPORT_METHOD, request.SerializeToString(), log_id=state.log_id)
    with pytest.raises(NotFormerLog):
        restored.before.run(never.report(signer_pb2.ForwardedRequest(request=signed)))


def test_forged_rule_cannot_touch_what_is_issued_after_the_restore(restored: Restored) -> None:
    is_unchanged = restored.unchanged()
    state = restored.now.state
    active, root = state.active.key_id, state.roots[0].key_id
    rule = restored.revocations[0]
    forged = [
        replace(rule, cut_offs={active: None}),
        replace(rule, cut_offs={**rule.cut_offs, active: None}),
        Revocation(seq=50, kind=RevocationKind.AUTHORITY, value=active, cut_offs={active: None}),
        Revocation(seq=50, kind=RevocationKind.AUTHORITY, value=root, cut_offs={}),
        replace(rule, value=b"spiffe://example.org/inborn/agent/x"),
        replace(rule, value=b"spiffe://other.org/web"),
        replace(rule, reason=7),
        Revocation(seq=50, kind=RevocationKind.SERIAL, value=b"\x01", cut_offs={}, blocks=True),
    ]
    for one in forged:
        with pytest.raises(RequestError):
            restored.report(restored.agent, rule, one)
    assert is_unchanged()


def test_rule_of_a_kind_that_nobody_knows_refuses_the_whole_report(restored: Restored) -> None:
    is_unchanged = restored.unchanged()
    odd = revocation_to_wire(restored.revocations[0])
    odd.kind = 9  # type: ignore[assignment]
    request = ca_pb2.ReportRequest(
        former_log_id=restored.former, revocations=[revocation_to_wire(restored.revocations[1]), odd]
    )
    signed = restored.agent.sign(REPORT_METHOD, request.SerializeToString(), log_id=restored.now.state.log_id)
    with pytest.raises(InvalidMessage, match="of kind 9"):
        restored.now.run(restored.findings.report(signer_pb2.ForwardedRequest(request=signed)))
    assert is_unchanged()


def test_authority_that_was_revoked_after_the_backup_is_revoked_with_its_certificate(restored: Restored) -> None:
    authority = restored.before.state.active.key_id
    rule = Revocation(seq=4, kind=RevocationKind.AUTHORITY, value=authority, cut_offs={authority: None})
    assert restored.report(restored.agent, rule).revocations == 1
    assert restored.now.state.revocations.find(restored.agent.facts) is not None
    order = read_order(restored.now.reader, restored.now.state.ca_id)
    assert order is not None
    assert order.authority == authority


def test_rules_that_the_backup_had_are_not_taken_from_an_agent(restored: Restored) -> None:
    old = replace(restored.revocations[0], seq=1, value=b"spiffe://example.org/victim")
    assert restored.report(restored.agent, old).revocations == 0


def test_agent_that_reports_a_million_rules_is_stopped(restored: Restored, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = next(iter(restored.revocations[0].cut_offs))

    def batch(start: int, count: int) -> list[Revocation]:
        return [
            Revocation(
                seq=start + i, kind=RevocationKind.SERIAL, value=(start + i).to_bytes(8, "big").lstrip(b"\0"),
                cut_offs={authority: None},
            )
            for i in range(count)
        ]  # fmt: skip

    with pytest.raises(RequestError, match="more than 500"):
        restored.report(restored.agent, *batch(10, 501))
    taken = 0
    for start in range(10, 5_000, 500):
        taken += restored.report(restored.agent, *batch(start, 500)).revocations
    assert taken == 5_000
    with pytest.raises(ExhaustedError, match="quota"):
        restored.report(restored.agent, *batch(5_510, 1))
    restored.seconds += 10
    assert restored.report(restored.agent, *batch(6_000, 500)).revocations == 500
    monkeypatch.setattr(findings, "MAX_OF_REPORTER", 6_000)
    restored.seconds += 1_000
    assert restored.report(restored.agent, *batch(7_000, 500)).revocations == 500
    with pytest.raises(ExhaustedError, match="more than 6000"):
        restored.report(restored.agent, *batch(8_000, 500))
    assert restored.report(restored.renewed, *restored.revocations).revocations == 2  # another one is not held up


def test_daemon_that_reports_is_refused(restored: Restored) -> None:
    is_unchanged = restored.unchanged()
    with pytest.raises(DeniedError, match="only agents report"):
        restored.report(restored.daemon, *restored.revocations)
    assert is_unchanged()


def test_revoked_and_banned_agents_report_nothing(restored: Restored) -> None:
    now = restored.now
    now.run(now.revocations.ban(admin_pb2.BanAgentRequest(agent="one"), ADMIN))
    with pytest.raises(CertificateRevoked):
        restored.report(restored.agent, *restored.revocations)
    now.run(now.revocations.ban(admin_pb2.BanAgentRequest(agent="two"), ADMIN))
    with pytest.raises(Banned):
        restored.report(restored.renewed, *restored.revocations)
    assert restored.found(all=True) == []


def test_agent_that_was_banned_meanwhile_is_not_accepted(restored: Restored) -> None:
    restored.report(restored.renewed)
    (finding,) = restored.found()
    now = restored.now
    now.run(now.revocations.ban(admin_pb2.BanAgentRequest(agent="two"), ADMIN))
    with pytest.raises(Blocked):
        restored.accept(finding.id)


def test_certificate_whose_revocation_others_remember_is_not_accepted(restored: Restored) -> None:
    """Its machine was stolen after the backup: it reports first, and the others tell what it was."""
    restored.report(restored.renewed)
    (finding,) = restored.found()
    facts = restored.renewed.facts
    rule = Revocation(
        seq=4, kind=RevocationKind.KEY, value=facts.key_hash, cut_offs={facts.authority: None}, blocks=True
    )
    assert restored.report(restored.agent, rule).revocations == 1
    with pytest.raises(CertificateRevoked):
        restored.accept(finding.id)
    with pytest.raises(CertificateRevoked):
        restored.report(restored.renewed)


def test_proof_without_a_row_is_not_taken_from_anybody_else(restored: Restored) -> None:
    is_unchanged = restored.unchanged()
    renewed = restored.renewed
    thief = replace(renewed, key=restored.agent.key)
    with pytest.raises(BadSignature):
        restored.report(thief, *restored.revocations)
    for chain in ([], [b"x"], restored.agent.response.chain, renewed.response.chain[:1]):
        with pytest.raises(InbornError):
            restored.report(renewed, *restored.revocations, chain=chain)
    with pytest.raises(RequestError):
        restored.report(renewed, method="/inborn.v1.Authority/Issue")
    with pytest.raises(UnknownRequester):  # signed for another certificate than the chain's
        restored.report(replace(restored.agent, response=renewed.response, key=renewed.key), serial=b"\x01")
    assert is_unchanged()


def test_replayed_report_of_an_accepted_agent_is_refused(restored: Restored) -> None:
    restored.report(restored.renewed)
    number = restored.renewed.number
    (finding,) = restored.found()
    restored.accept(finding.id)
    with pytest.raises(InbornError, match="used or is too old"):
        restored.report(restored.renewed, *restored.revocations, number=number)
