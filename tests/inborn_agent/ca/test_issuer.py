"""What the agent tells the CA of its workloads, and in how many messages."""

from __future__ import annotations

from inborn._internal.selectors.kinds.posture import LISTED
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.wire.signed_request import MAX_BODY_SIZE
from inborn_agent.ca.issuer import MAX_BATCH, MAX_REPORTED, in_batches, make_csr, reported
from inborn_agent.cache.slots import Want
from inborn_proto import ca_pb2, signed_pb2
from tests.inborn_agent.cache.test_cache import UID, entry


def test_what_the_ca_is_told_of_too_many_facts_is_what_the_entry_wants_and_the_strongest() -> None:
    label = parse_selector("docker:label:zzz:1")
    wanted = entry(selectors=frozenset({label}))
    many = frozenset(parse_selector(f"docker:label:a{number}:1") for number in range(400)) | UID | {label}
    told = reported(many, wanted)
    assert len(told) == MAX_REPORTED
    assert {str(label), "unix:uid:1000"} <= set(told)
    assert list(told) == sorted(told)
    assert reported(UID, wanted) == ("unix:uid:1000",)


def test_long_facts_of_one_workload_go_in_a_message_of_their_own() -> None:
    long = frozenset(parse_selector(f"docker:label:{number}:{'x' * 900}") for number in range(200))
    short = Want(entry=entry(), selectors=UID)
    wants = [short, short, Want(entry=entry(), selectors=long), short]
    assert [len(batch) for batch in in_batches(wants, limit=100_000)] == [2, 1, 1]
    assert [len(batch) for batch in in_batches(wants)] == [4]
    assert list(in_batches([])) == []


def test_as_many_workloads_as_a_machine_has_fit_into_signed_requests() -> None:
    """Each with the posture of a hardened container and its labels: more than one request may be long."""
    facts = UID | {parse_selector(f"posture:cap_{kind}_lacks:{name}") for kind in ("eff", "bnd") for name in LISTED}
    facts |= {parse_selector(f"docker:label:com.example.number-{number}:value") for number in range(40)}
    _, csr = make_csr()
    batches = list(in_batches([Want(entry=entry(), selectors=facts)] * MAX_BATCH))
    assert sum(map(len, batches)) == MAX_BATCH
    for batch in batches:
        items = [
            ca_pb2.IssueItem(entry_id="0" * 36, csr=csr, selectors=reported(want.selectors, want.entry))
            for want in batch
        ]
        payload = ca_pb2.IssueRequest(items=items).SerializeToString()
        body = signed_pb2.SignedBody(
            trust_domain="x" * 255, method="x" * 64, log_id=b"x" * 32, serial=b"x" * 20, number=1 << 62, payload=payload
        )
        assert len(body.SerializeToString()) <= MAX_BODY_SIZE
