"""Registration entries as commands: what an admin writes is read strictly, what stands there already goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inborn._internal.selectors.entry_selector import UnknownSelector
from inborn._internal.selectors.selector import parse_selector
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.queue import Finish
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2
from tests.rigs.fixtures_ca import ADMIN, CaBench


def test_an_entry_with_a_key_that_its_type_does_not_have_is_refused(ca_bench: CaBench) -> None:
    with pytest.raises(UnknownSelector, match=r"type unix have no key 'uuid', they have uid, user, gid, group"):
        ca_bench.create_entry(selectors=["unix:uuid:5"])
    assert not list(ca_bench.reader.entries.all())


def test_an_entry_is_not_changed_to_such_a_selector(ca_bench: CaBench) -> None:
    entry = ca_bench.create_entry()
    request = admin_pb2.UpdateEntryRequest(id=entry.id, set=["selectors"], selectors=["docker:image_digest:sha256:00"])
    with pytest.raises(UnknownSelector, match="image_config_digest"):
        ca_bench.run(ca_bench.entries.update(request, ADMIN))
    (kept,) = ca_bench.reader.entries.all()
    assert kept.selectors == {parse_selector("unix:uid:1000")}


@pytest.mark.parametrize("selector", ["k8s:ns:default", "docker:image-signature:verified"])
def test_an_entry_that_is_carried_over_from_spire_is_taken_with_a_warning(ca_bench: CaBench, selector: str) -> None:
    request = admin_pb2.CreateEntryRequest(
        spiffe_id="spiffe://example.org/web", selectors=["unix:uid:1000", selector], node="any"
    )
    response = ca_bench.run(ca_bench.entries.create(request, ADMIN))
    assert any("no process ever matches: no agent produces" in warning for warning in response.warnings)


def test_an_entry_from_before_keys_were_looked_at_can_be_read_and_changed_otherwise(ca_bench: CaBench) -> None:
    made = ca_bench.create_entry()

    def write_as_it_was(tx: Transaction, changes: Changes) -> Finish:
        entry = tx.entries.get(made.id)
        assert entry is not None
        tx.entries.update(replace(entry, selectors=frozenset({parse_selector("unix:uuid:5")})))
        return lambda: None

    ca_bench.run(write_as_it_was)
    request = admin_pb2.UpdateEntryRequest(id=made.id, set=["hint"], hint="old")
    response = ca_bench.run(ca_bench.entries.update(request, ADMIN))
    assert (response.entry.hint, list(response.entry.selectors)) == ("old", ["unix:uuid:5"])
    assert "no process ever matches: no agent produces unix:uuid" in response.warnings
