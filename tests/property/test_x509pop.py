"""A node's certificate with anything changed in it is refused by an error that says so, and by no other."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_svid import load_certificate
from inborn.errors import InbornError
from inborn_ca.model.registration_entry import AGENT_PREFIX
from inborn_ca.signer.commands.node_attestors.x509pop.certificate_path import UntrustedNode, verify_path
from inborn_ca.signer.commands.node_attestors.x509pop.path_template import InvalidTemplate, PathTemplate, UnusableName
from tests.rigs.machine_ca import MachineCertificate

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
ROOT = MachineCertificate.root(NOW)
LEAF = ROOT.issuing(NOW).leaf(NOW, uris=["x509pop://example.org/rack:7"])
TD = TrustDomain("example.org")


def test_the_path_itself_is_good() -> None:
    assert len(verify_path([load_certificate(der) for der in LEAF.chain], [ROOT.certificate], now=NOW)) == 3


@settings(max_examples=300)
@given(st.integers(0, 1), st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
def test_no_octet_of_a_chain_can_be_changed(which: int, at: int, change: int) -> None:
    ders = [bytearray(der) for der in LEAF.chain]
    ders[which][at % len(ders[which])] ^= change
    try:
        chain = [load_certificate(bytes(der)) for der in ders]
    except InbornError:
        return
    with pytest.raises((UntrustedNode, ValueError)):  # the attestor maps the second to the first
        verify_path(chain, [ROOT.certificate], now=NOW)


@given(st.text(max_size=300))
def test_a_template_is_refused_or_stays_below_its_kind(text: str) -> None:
    values = {".Fingerprint": "f" * 40, ".Subject.CommonName": "web1", ".SerialNumberHex": "1"}
    try:
        template = PathTemplate(text=text)
    except InvalidTemplate:
        return
    assert template.render(values, TD).path.startswith(f"{AGENT_PREFIX}x509pop/")


@given(st.text(max_size=100))
def test_a_name_is_refused_or_one_segment(name: str) -> None:
    values = {".Fingerprint": "f" * 40, ".Subject.CommonName": name, ".SerialNumberHex": "1"}
    try:
        made = PathTemplate(text="x509pop/{{ .Subject.CommonName }}").render(values, TD)
    except UnusableName:
        return
    assert made.path == f"{AGENT_PREFIX}x509pop/{name}"
    assert "/" not in name
