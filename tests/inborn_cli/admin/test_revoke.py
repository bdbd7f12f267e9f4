"""What `inborn revoke` and its like ask, in which order, once or again, and what they say while they wait."""

from __future__ import annotations

import datetime as dt
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire.admin_methods import METHODS, AdminMethod, Effect
from inborn.errors import InternalError, UnavailableError
from inborn_cli.admin import spread
from inborn_proto import admin_pb2 as pb
from tests.inborn_cli.fixtures_cli import AGENT, WEB, Command, FakeCa

ROOT = Path(__file__).resolve().parents[3]


def revocations(ca: FakeCa) -> list[pb.RevokeRequest]:
    return [request for _, request in ca.requests if isinstance(request, pb.RevokeRequest)]


def methods(ca: FakeCa) -> list[str]:
    return [name for name, _ in ca.requests]


def revoke_on_a_terminal(ca: FakeCa, line: str, answer: str) -> tuple[int, str, str]:
    """Type an answer; exit status, stdout, and what the terminal showed."""
    master, slave = pty.openpty()
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "proto"))
    process = subprocess.Popen(
        [sys.executable, "-m", "inborn_cli", *line.split()],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "INBORN_ADMIN_SOCKET": str(ca.path)},
    )
    os.close(slave)
    os.write(master, answer.encode())
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:
        pass  # Linux says so when the other end is closed
    os.close(master)
    out, _ = process.communicate(timeout=30)
    return process.returncode, out, shown.decode()


# -- what is asked -----------------------------------------------------------------------------------------------------


def test_it_looks_first_and_then_sends_what_was_typed(fake_ca: FakeCa, inborn: Command) -> None:
    assert inborn(f"revoke --id {WEB} --reason KEYCOMPROMISE --note 'laptop lost' --reissue").status == 0
    first, second = revocations(fake_ca)
    expected = pb.RevokeRequest(spiffe_id=WEB, reason="keyCompromise", note="laptop lost", reissue=True, dry_run=True)
    assert first == expected
    expected.dry_run = False
    expected.request_id = second.request_id
    assert second == expected


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("--serial 0x01:99", "serial", "0199"),
        (f"--key {'AB:' * 31}AB", "key", "ab" * 32),
        ("--id-prefix spiffe://example.org/web", "id_prefix", "spiffe://example.org/web"),
        ("--entry 0b7f4a4e-63e6-4b9c-8d58-2d5f0a1f5a51", "entry", "0b7f4a4e-63e6-4b9c-8d58-2d5f0a1f5a51"),
        ("--agent web1", "agent", "web1"),
        ("--selector 'docker:label:a b:c'", "selector", "docker:label:a b:c"),
    ],
)
def test_every_target_goes_into_its_field(
    option: str, field: str, value: str, fake_ca: FakeCa, inborn: Command
) -> None:
    assert inborn(f"revoke {option} --expect-count 600").status == 0
    for request in revocations(fake_ca):
        assert getattr(request, field) == value


def test_every_command_has_a_number_of_its_own(fake_ca: FakeCa, inborn: Command) -> None:
    for _ in range(3):
        inborn(f"revoke --id {WEB}")
    numbers = {request.request_id for request in revocations(fake_ca) if not request.dry_run}
    assert {len(number) for number in numbers} == {16}
    assert len(numbers) == 3


def test_dry_run_changes_nothing(fake_ca: FakeCa, inborn: Command) -> None:
    for line in (f"revoke --id {WEB} --dry-run", "agent evict web1 --dry-run --json", "revoke --agent web1 --dry-run"):
        assert inborn(line).status == 0
    assert all(request.dry_run for request in revocations(fake_ca))
    assert set(methods(fake_ca)) == {"Revoke"}


def test_evicted_agent_is_not_blocked(fake_ca: FakeCa, inborn: Command) -> None:
    assert inborn("agent evict web1 --expect-count 600 --reason keycompromise --note n").status == 0
    request = revocations(fake_ca)[-1]
    assert (request.agent, request.reissue, request.reason, request.note) == ("web1", True, "keyCompromise", "n")
    assert methods(fake_ca) == ["Revoke", "Revoke", "GetExpansion"]


def test_agent_that_is_not_there_is_not_banned(fake_ca: FakeCa, inborn: Command) -> None:
    def refuse(request: Message) -> Message:
        raise UnavailableError("no agent is called web9")

    fake_ca.answers["Revoke"] = refuse
    assert inborn("agent ban web9").status == 1
    assert methods(fake_ca) == ["Revoke"]


# -- a lost reply ------------------------------------------------------------------------------------------------------


def losing(ca: FakeCa, lose: Callable[[], None], replies: int = 1) -> None:
    """Revoke happens, and so many replies are lost on the way."""
    left = [replies]

    def answer(request: Message) -> Message:
        assert isinstance(request, pb.RevokeRequest)
        if not request.dry_run and left[0]:
            left[0] -= 1
            lose()
        return ca.Revoke(request)

    ca.answers["Revoke"] = answer


def close_connection() -> None:
    raise ConnectionResetError


def test_command_whose_reply_was_lost_is_sent_once_more_under_the_same_number(fake_ca: FakeCa, inborn: Command) -> None:
    losing(fake_ca, close_connection)
    ran = inborn(f"revoke --id {WEB}")
    assert ran.status == 0
    assert "3 killed" in ran.out
    first, second = revocations(fake_ca)[1:]
    assert first == second


@pytest.mark.parametrize(
    "method", [m for m in METHODS.values() if m.effect is Effect.CHANGES], ids=lambda m: m.name.rpartition("/")[2]
)
def test_what_would_happen_twice_is_not_sent_patiently(method: AdminMethod[Any, Any], fake_ca: FakeCa) -> None:
    with AdminClient(fake_ca.path) as client, pytest.raises(InternalError, match="may not be sent again"):
        spread.call_patiently(client, method, method.request())
    assert fake_ca.requests == []


def test_command_whose_reply_is_lost_twice_fails(fake_ca: FakeCa, inborn: Command) -> None:
    losing(fake_ca, close_connection, replies=2)
    ran = inborn(f"revoke --id {WEB}")
    assert (ran.status, ran.out) == (1, "")
    assert "closed the connection" in ran.err
    assert len(revocations(fake_ca)) == 3


def test_command_waits_for_a_ca_that_went_away_with_its_reply(
    fake_ca: FakeCa, inborn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = fake_ca.path.with_name("away")

    def go_away() -> None:
        fake_ca.path.rename(away)
        raise ConnectionResetError

    def come_back(seconds: float) -> None:
        if away.exists():
            away.rename(fake_ca.path)

    monkeypatch.setattr("time.sleep", come_back)
    losing(fake_ca, go_away)
    assert inborn(f"revoke --id {WEB}").status == 0
    first, second = revocations(fake_ca)[1:]
    assert first == second


# -- the question ------------------------------------------------------------------------------------------------------


def test_a_yes_on_a_terminal_revokes(fake_ca: FakeCa) -> None:
    status, out, shown = revoke_on_a_terminal(fake_ca, f"revoke --id {WEB}", "y\n")
    assert status == 0
    assert "3 killed" in out
    assert "hits 3 living certificates of 1 identity" in shown
    assert "Revoke? [y/N]" in shown


@pytest.mark.parametrize("answer", ["n\n", "\n"])
@pytest.mark.parametrize("line", [f"revoke --id {WEB} --json", "agent ban web1", "agent evict web1"])
def test_anything_but_a_yes_changes_nothing(answer: str, line: str, fake_ca: FakeCa) -> None:
    status, out, shown = revoke_on_a_terminal(fake_ca, line, answer)
    assert (status, out) == (1, "")
    assert "nothing was changed" in shown
    assert [request.dry_run for request in revocations(fake_ca)] == [True]
    assert set(methods(fake_ca)) == {"Revoke"}


def test_control_d_at_the_question_changes_nothing(fake_ca: FakeCa) -> None:
    status, out, _ = revoke_on_a_terminal(fake_ca, f"revoke --id {WEB}", "\x04")
    assert (status, out) == (130, "")
    assert [request.dry_run for request in revocations(fake_ca)] == [True]


def test_where_it_hits_very_many_the_answer_is_their_number(fake_ca: FakeCa) -> None:
    line = "revoke --id-prefix spiffe://example.org/web"
    status, out, shown = revoke_on_a_terminal(fake_ca, line, "y\n")
    assert (status, out) == (1, "")
    assert "Type their number" in shown
    status, out, _ = revoke_on_a_terminal(fake_ca, line, "600\n")
    assert status == 0
    assert revocations(fake_ca)[-1].expect_count == 600


def test_nobody_is_asked_who_said_yes_before(fake_ca: FakeCa) -> None:
    status, _, shown = revoke_on_a_terminal(fake_ca, f"revoke --id {WEB} --yes", "")
    assert status == 0
    assert "[y/N]" not in shown


# -- waiting -----------------------------------------------------------------------------------------------------------


def expanding(ca: FakeCa, *rules: int) -> None:
    """GetExpansion answers with these numbers one after the other, and is finished with the last."""
    left = list(rules)

    def answer(request: Message) -> Message:
        killed = left.pop(0)
        return pb.ExpansionResponse(
            id=4, target=f"node:{AGENT}", revoked=killed, finished=not left, revocation_seq=17 + killed
        )

    ca.answers["GetExpansion"] = answer


def test_expansion_is_waited_for_and_its_last_rule_is_what_peers_must_have(fake_ca: FakeCa, inborn: Command) -> None:
    expanding(fake_ca, 0, 300, 600)
    ran = inborn("revoke --agent web1 --expect-count 600 --wait --json")
    assert ran.status == 0
    assert ran.err == ""
    assert json.loads(ran.out)["revocation_seq"] == 617
    assert fake_ca.requests[-1][1].revocation_seq == 617  # type: ignore[attr-defined]
    assert methods(fake_ca)[2:] == ["GetExpansion"] * 3 + ["GetPropagation"]


def test_expansion_and_peers_have_a_bar_on_a_terminal(fake_ca: FakeCa) -> None:
    expanding(fake_ca, 300, 600)
    applied = [1, 2]
    fake_ca.answers["GetPropagation"] = lambda request: pb.PropagationResponse(
        peers=2, applied=applied[0], laggards=["web1"] if applied.pop(0) == 1 else []
    )
    status, _, shown = revoke_on_a_terminal(fake_ca, "revoke --agent web1 --expect-count 600 --yes --wait", "")
    assert status == 0
    assert "\r[############............] 300 of 600 certificates killed" in shown
    assert "\r[############............] applied by 1 of 2 peers" in shown
    assert "applied by every peer (2)" in shown


def test_expansion_that_does_not_go_on_is_given_up(
    fake_ca: FakeCa, inborn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "STALL", dt.timedelta(0))
    expanding(fake_ca, 300, 300, 300)
    ran = inborn("revoke --agent web1 --expect-count 600")
    assert ran.status == 1
    assert "error: expansion 4 does not go on: 300 of 600 certificates are killed" in ran.err


def test_it_waits_until_everybody_has_it(fake_ca: FakeCa, inborn: Command) -> None:
    left = [["pid 7 web"], ["pid 7 web"], []]
    fake_ca.answers["GetPropagation"] = lambda request: pb.PropagationResponse(
        peers=2, applied=2 if len(left) == 1 else 1, laggards=left.pop(0)
    )
    ran = inborn(f"revoke --id {WEB} --wait 1m")
    assert ran.status == 0
    assert ran.err.splitlines()[1:] == ["applied by every peer (2)"]  # no progress where nobody looks
    assert methods(fake_ca) == ["Revoke", "Revoke", *["GetPropagation"] * 3]


@pytest.mark.parametrize("line", [f"revoke --id {WEB}", "agent ban web1", "agent evict web1 --expect-count 600"])
def test_it_names_who_has_not_applied_it_and_fails(line: str, fake_ca: FakeCa, inborn: Command) -> None:
    fake_ca.answers["GetPropagation"] = lambda request: pb.PropagationResponse(peers=2, applied=1, laggards=["web1"])
    ran = inborn(f"{line} --wait 0")
    assert ran.status == 1
    assert "error: applied by 1 of 2 peers; not yet by web1" in ran.err.splitlines()
    assert "killed" in ran.out
    ran = inborn(f"{line} --wait 0 --json")
    assert ran.status == 1
    assert json.loads(ran.out)["propagation"] == {"peers": 2, "applied": 1, "laggards": ["web1"]}


# -- what is revoked and blocked ---------------------------------------------------------------------------------------


def test_revocations_are_listed_page_by_page(fake_ca: FakeCa, inborn: Command) -> None:
    def page(request: Message) -> Message:
        assert isinstance(request, pb.ListRevocationsRequest)
        first = request.after_seq + 1
        rows = [pb.Revocation(seq=seq, target=f"serial:{seq}") for seq in range(first, min(first + 2, 6))]
        return pb.ListRevocationsResponse(
            revocations=rows,
            blocks=[] if request.after_seq else [pb.Block(target="key:01")],
            revocation_seq=5,
            more=first + 2 < 6,
        )

    fake_ca.answers["ListRevocations"] = page
    document = json.loads(inborn("revocations list --json --limit 0").out)
    assert [row["seq"] for row in document["revocations"]] == [1, 2, 3, 4, 5]
    assert [block["target"] for block in document["blocks"]] == ["key:01"]
    ran = inborn("revocations list --limit 2")
    assert ran.out.splitlines()[0].startswith("REVOCATION")
    assert ran.err == "there are more: --after 2\n"


def test_status_names_those_who_lag(fake_ca: FakeCa, inborn: Command) -> None:
    agents = [
        pb.Agent(spiffe_id=AGENT, name="web1", state="active", connected=True, laggards=["pid 7 web"]),
        pb.Agent(spiffe_id=f"{AGENT}2", state="banned"),
    ]
    fake_ca.answers["ListAgents"] = lambda request: pb.ListAgentsResponse(agents=agents)
    fake_ca.answers["GetPropagation"] = lambda request: pb.PropagationResponse(
        peers=2, applied=1, laggards=["pid 7 web on web1"]
    )
    lines = inborn("revocations status").out.splitlines()
    assert "not yet by   pid 7 web on web1" in lines
    assert [line.split() for line in lines[-2:]] == [
        ["web1", "open", "-", "-", "pid", "7", "web"],
        [f"{AGENT}2", "banned", "-", "-", "-"],
    ]
