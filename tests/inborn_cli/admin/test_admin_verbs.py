"""What the admin's verbs ask of the CA, and what they make of its answers, beyond the transcripts."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import Message

from inborn.errors import UnavailableError
from inborn.testing import MemoryAuthority
from inborn_proto import admin_pb2 as pb
from tests.inborn_cli.fixtures_cli import ENTRY_ID, WEB, Command, FakeCa, certificate, stamp, two_holders


def asked(ca: FakeCa) -> Message:
    """The one request that was made."""
    ((_, request),) = ca.requests
    return request


def test_token_create_sends_what_was_typed(fake_ca: FakeCa, inborn: Command) -> None:
    assert inborn("token create --name web1 --group a --group b --uses 3 --ttl 1h").status == 0
    assert asked(fake_ca) == pb.CreateTokenRequest(name="web1", groups=["a", "b"], uses=3, ttl_seconds=3600)


def test_token_for_a_ca_on_loopback_draws_a_warning(fake_ca: FakeCa, inborn: Command) -> None:
    fake_ca.answers["CreateToken"] = lambda request: pb.CreateTokenResponse(token="t", bootstrap_address="[::1]:8443")
    assert "warning: the CA listens on [::1]:8443" in inborn("token create").err


def test_entry_create_sends_what_was_typed(fake_ca: FakeCa, inborn: Command) -> None:
    line = (
        f"entry create --id {WEB} --selector unix:uid:1000 --selector 'docker:label:a b:*' --node any --ttl 30m "
        "--dns a.example.org --dns b.example.org --cn web --hint main"
    )
    assert inborn(line).status == 0
    assert asked(fake_ca) == pb.CreateEntryRequest(
        spiffe_id=WEB,
        selectors=["unix:uid:1000", "docker:label:a b:*"],
        node="any",
        ttl_seconds=1800,
        dns_names=["a.example.org", "b.example.org"],
        common_name="web",
        hint="main",
    )


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ("--ttl 30m", {"set": ["ttl"], "ttl_seconds": 1800}),
        ("--ttl 0", {"set": ["ttl"]}),
        ("--dns ''", {"set": ["dns"]}),
        ("--selector unix:uid:1 --cn ''", {"set": ["selectors", "cn"], "selectors": ["unix:uid:1"]}),
        ("--hint x --node group:g", {"set": ["node", "hint"], "node": "group:g", "hint": "x"}),
    ],
)
def test_entry_update_names_what_is_meant(
    options: str, changed: dict[str, object], fake_ca: FakeCa, inborn: Command
) -> None:
    assert inborn(f"entry update {ENTRY_ID} {options}").status == 0
    assert asked(fake_ca) == pb.UpdateEntryRequest(id=ENTRY_ID, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        f"entry create --id {WEB} --selector unix:uid:1000 --admin",
        f"entry update {ENTRY_ID} --admin",
        f"entry update {ENTRY_ID} --no-admin --hint x",
    ],
)
def test_no_entry_says_that_it_grants_administration(line: str, fake_ca: FakeCa, inborn: Command) -> None:
    ran = inborn(line)
    assert ran.status == 2
    assert "admin" in ran.err
    assert fake_ca.requests == []


def test_certs_list_sends_its_filters(fake_ca: FakeCa, inborn: Command) -> None:
    line = (
        f"certs list --id {WEB} --node web1 --entry {ENTRY_ID} --issued-after 2026-01-31T12:00:00Z --history --limit 9"
    )
    assert inborn(line).status == 0
    assert asked(fake_ca) == pb.ListCertificatesRequest(
        spiffe_id=WEB, node="web1", entry_id=ENTRY_ID, issued_after=stamp(), history=True, limit=9
    )


def test_certs_list_goes_through_every_page(fake_ca: FakeCa, inborn: Command) -> None:
    def two_at_a_time(request: Message) -> Message:
        assert isinstance(request, pb.ListCertificatesRequest)
        first = int(request.after_serial[4:] or "0", 16) + 1
        rows = [certificate(number) for number in range(first, min(first + 2, 6))]
        return pb.ListCertificatesResponse(certificates=rows, more=first + 2 < 6)

    fake_ca.answers["ListCertificates"] = two_at_a_time
    ran = inborn("certs list --json --limit 0")
    assert [row["serial"] for row in json.loads(ran.out)] == [certificate(number).serial for number in range(1, 6)]
    assert len(fake_ca.requests) == 3
    table = inborn("certs list --limit 0").out.splitlines()
    assert len(table) == 6
    assert table[0].startswith("SERIAL")
    assert ran.err == ""


def test_audit_follow_asks_for_what_comes_after(fake_ca: FakeCa, inborn: Command) -> None:
    answers = [
        pb.ListAuditResponse(rows=[pb.AuditRow(id=8, action="b"), pb.AuditRow(id=7, action="a")]),
        pb.ListAuditResponse(),
        pb.ListAuditResponse(rows=[pb.AuditRow(id=9, action="c", detail="not json")]),
    ]

    def answer(request: Message) -> Message:
        if not answers:
            raise UnavailableError("the CA stops")
        return answers.pop(0)

    fake_ca.answers["ListAudit"] = answer
    ran = inborn("audit list --follow --json --action x")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [7, 8, 9]
    assert json.loads(ran.out.splitlines()[-1])["detail"] == "not json"
    assert (ran.status, ran.err) == (1, "error: the CA stops\n")
    requests = [request for _, request in fake_ca.requests]
    assert requests[0] == pb.ListAuditRequest(action="x", limit=100, newest=True)
    assert requests[1] == requests[2] == pb.ListAuditRequest(action="x", after_id=8, wait_ms=30_000)
    assert requests[3] == pb.ListAuditRequest(action="x", after_id=9, wait_ms=30_000)


def test_bundle_is_shown_as_pem_and_as_spiffe_wants_it(fake_ca: FakeCa, inborn: Command) -> None:
    authority = MemoryAuthority("example.org")
    root = authority.root.public_bytes(Encoding.DER)
    fake_ca.answers["GetBundle"] = lambda request: pb.GetBundleResponse(
        trust_domain="example.org", roots=[root], sequence=4, digest=authority.bundle.digest().hex()
    )
    assert inborn("bundle show").out == authority.bundle.pem().decode()
    document = json.loads(inborn("bundle show --format spiffe").out)
    assert document["spiffe_sequence"] == 4
    assert document["keys"][0]["use"] == "x509-svid"
    shown = json.loads(inborn("bundle show --json").out)
    assert shown["roots_pem"] == authority.bundle.pem().decode()
    assert shown["digest"] == authority.bundle.digest().hex()


def test_bundle_that_is_none_is_refused(fake_ca: FakeCa, inborn: Command) -> None:
    fake_ca.answers["GetBundle"] = lambda request: pb.GetBundleResponse(trust_domain="example.org", roots=[b"\x30\x00"])
    ran = inborn("bundle show")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: not a DER certificate")


def test_ill_health_is_exit_status_1(fake_ca: FakeCa, inborn: Command) -> None:
    check = pb.Check(name="port", healthy=False, detail="api: refused", milliseconds=1)
    fake_ca.answers["CheckHealth"] = lambda request: pb.CheckHealthResponse(healthy=False, checks=[check])
    ran = inborn("health")
    assert ran.status == 1
    assert "FAILED" in ran.out
    assert inborn("health --json").status == 1


def test_backup_sends_the_passphrase_without_its_line_end(
    fake_ca: FakeCa, inborn: Command, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    with open("secret", "wb") as file:
        file.write(b"correct horse \r\n")
    assert inborn("ca backup /var/backups/x --passphrase-file secret").status == 0
    assert asked(fake_ca) == pb.BackupRequest(path="/var/backups/x", passphrase=b"correct horse ")
    with open("secret", "wb") as file:
        file.write(b"x" * 4096)
    ran = inborn("ca backup /var/backups/x --passphrase-file secret")
    assert ran.status == 1
    assert "longer than 1024" in ran.err


def test_open_alarm_makes_status_fail(fake_ca: FakeCa, inborn: Command) -> None:
    status = fake_ca.GetStatus(pb.StatusRequest())
    status.alarms.append(two_holders())
    fake_ca.answers["GetStatus"] = lambda request: status
    ran = inborn("status")
    assert ran.status == 1
    assert "error: alarm 3, renewal.two_holders: " in ran.err
    document = json.loads(inborn("status --json").out)
    assert document["is_well"] is False
    assert document["ca"]["alarms"][0]["id"] == 3
    assert document["agent"] is None


def test_expired_crl_makes_status_fail(fake_ca: FakeCa, inborn: Command) -> None:
    status = fake_ca.GetStatus(pb.StatusRequest())
    status.authorities[1].crl_next_update.CopyFrom(stamp(days=-400))
    fake_ca.answers["GetStatus"] = lambda request: status
    ran = inborn("status")
    assert ran.status == 1
    assert "error: CRL of issuing authority bbbbbbbbbbbbbbbb expired at 2024-12-27T12:00:00Z" in ran.err
