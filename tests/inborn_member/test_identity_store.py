"""What a member keeps of itself is there after a restart, and no damage to it is more than a new beginning."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from inborn._internal.host.files import write_sealed
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import key_sha256
from inborn_member.former_daemon_files import carry_over
from inborn_member.identity_store import IdentityRecord, IdentityStore
from inborn_member.kept_revocations import KeptRevocations, UnreadableRevocations
from tests.rigs.certificates import NOW, make_bundle, make_issuing, make_leaf, make_root

MEMBER = parse_spiffe_id("spiffe://example.org/inborn/agent/1")
ROOT = make_root()
ISSUING = make_issuing(ROOT)
FORMER = Path(__file__).parent / "former"
"""Directories that the program wrote before agent and daemon had one piece of code."""


def record() -> IdentityRecord:
    svid = make_leaf(ISSUING, str(MEMBER)).svid(issued_at=NOW)
    return IdentityRecord(
        svid=svid, bundle=make_bundle(ROOT), log_id=b"l" * 16, api_address="ca:8444", evidence=b"t" * 16
    )


def public(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_the_identity_is_there_after_a_restart(tmp_path: Path) -> None:
    made = record()
    IdentityStore(tmp_path).save(made)
    again = IdentityStore(tmp_path).load()
    assert again is not None
    assert (again.svid.chain_der(), again.svid.key_der()) == (made.svid.chain_der(), made.svid.key_der())
    assert (again.log_id, again.api_address, again.evidence) == (b"l" * 16, "ca:8444", b"t" * 16)
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o600


def sealed(document: object) -> Callable[[Path], None]:
    return lambda path: write_sealed(path, json.dumps(document).encode())


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def unsealed(path: Path) -> None:
    path.write_bytes(b'{"for": "", "key": "", "reserved": 0}')


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES = [cut_off, altered, unsealed, link, sealed([]), sealed("x"), lambda path: path.write_bytes(b"")]


@pytest.mark.parametrize("damage", [*DAMAGES, sealed({}), sealed({"issued_at": "2026-11-20T12:00:00"})])
def test_a_damaged_identity_is_set_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = IdentityStore(tmp_path)
    store.save(record())
    damage(tmp_path / "identity")
    assert store.load() is None
    assert os.path.lexists(tmp_path / "identity.corrupt")
    assert not os.path.lexists(tmp_path / "identity")


@pytest.mark.parametrize("name", ["successor", "enrolling"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key_is_set_aside_and_another_one_is_made(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    store, made = IdentityStore(tmp_path), record()

    def key() -> bytes:
        return public(store.successor(made.svid) if name == "successor" else store.enrolling_key(b"a" * 16))

    first = key()
    damage(tmp_path / name)
    second = key()
    assert second != first
    assert key() == second
    assert os.path.lexists(tmp_path / f"{name}.corrupt")


@pytest.mark.parametrize("key", ["", "*", "AAAA", 7, None])
def test_what_is_no_key_is_set_aside(tmp_path: Path, key: object) -> None:
    store = IdentityStore(tmp_path)
    sealed({"for": (b"a" * 16).hex(), "key": key})(tmp_path / "enrolling")
    made = store.enrolling_key(b"a" * 16)
    assert public(store.enrolling_key(b"a" * 16)) == public(made)
    assert (tmp_path / "enrolling.corrupt").exists()


def test_there_is_one_successor_key_for_an_identity_whatever_happens_in_between(tmp_path: Path) -> None:
    made = record()
    first = IdentityStore(tmp_path).successor(made.svid)
    assert public(IdentityStore(tmp_path).successor(made.svid)) == public(first)
    # The CA has moved, or has other roots: the certificate is the same, and so is what it is to be renewed with.
    IdentityStore(tmp_path).amend(dataclasses.replace(made, api_address="elsewhere:8444"))
    assert public(IdentityStore(tmp_path).successor(made.svid)) == public(first)
    IdentityStore(tmp_path).save(made)  # renewed: the next successor is another one
    assert public(IdentityStore(tmp_path).successor(made.svid)) != public(first)


def test_the_key_of_an_enrollment_stays_with_its_evidence(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    assert public(store.enrolling_key(b"a" * 16)) == public(store.enrolling_key(b"a" * 16))
    assert public(store.enrolling_key(b"a" * 16)) != public(store.enrolling_key(b"b" * 16))


def test_request_numbers_never_go_back(tmp_path: Path) -> None:
    store, svid = IdentityStore(tmp_path), record().svid
    unknown = store.reserved_number(svid, NOW)
    assert unknown == int(NOW.timestamp() * 1000)
    store.reserve_numbers(svid, unknown + 1024)
    assert IdentityStore(tmp_path).reserved_number(svid, NOW) == unknown + 1024
    other = make_leaf(ISSUING, str(MEMBER)).svid()
    assert store.reserved_number(other, NOW) == unknown


@pytest.mark.parametrize(
    "damage", [*DAMAGES, sealed({}), lambda path: path.unlink(), sealed({"reserved": -1}), sealed({"reserved": "9"})]
)
def test_numbers_that_were_lost_go_on_beyond_all_that_were_used(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store, svid = IdentityStore(tmp_path), record().svid
    store.reserve_numbers(svid, int(NOW.timestamp() * 1000))
    damage(tmp_path / "numbers")
    later = NOW + dt.timedelta(seconds=2)
    assert store.reserved_number(svid, later) == int(later.timestamp() * 1000)


# Directories of the former program.


@pytest.fixture
def former(tmp_path: Path) -> Callable[[str], Path]:
    def copied(kind: str) -> Path:
        shutil.copytree(FORMER / kind, tmp_path / kind)
        return tmp_path / kind

    return copied


def test_the_directory_of_a_former_agent_is_read_as_it_is(former: Callable[[str], Path]) -> None:
    directory = former("agent")
    store = IdentityStore(directory)
    made = store.load()
    assert made is not None
    assert (str(made.svid.spiffe_id), made.api_address) == ("spiffe://example.org/inborn/agent/1", "127.0.0.1:8444")
    assert (made.log_id, made.evidence) == (b"l" * 16, b"t" * 16)
    assert made.svid.issued_at == dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    assert store.reserved_number(made.svid, NOW) == 4096
    kept = {path.name: path.read_bytes() for path in directory.iterdir()}
    store.successor(made.svid)
    store.enrolling_key(b"u" * 16)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == kept


def carried(directory: Path) -> tuple[IdentityStore, KeptRevocations]:
    store, kept = IdentityStore(directory), KeptRevocations(directory)
    carry_over(directory, store, kept)
    return store, kept


def test_the_directory_of_a_former_daemon_is_carried_over(former: Callable[[str], Path]) -> None:
    directory = former("daemon")
    document = json.loads((directory / "next.json").read_bytes())
    store, kept = carried(directory)
    made = store.load()
    assert made is not None
    assert (str(made.svid.spiffe_id), made.api_address) == ("spiffe://example.org/daemon", "127.0.0.1:8444")
    assert (made.log_id, made.evidence) == (b"l" * 16, b"t" * 16)
    assert made.bundle.trust_domain == made.svid.spiffe_id.trust_domain
    assert made.svid.issued_at == dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    assert store.reserved_number(made.svid, NOW) > 2048
    assert document["for"] == key_sha256(made.svid.private_key.public_key()).hex()
    assert document["key"] in (directory / "successor").read_text(errors="replace")
    revocations = kept.load()
    assert [(log.log_id, log.seq, len(log)) for log in revocations.logs()] == [(b"a" * 16, 1, 1), (b"l" * 16, 2, 2)]
    assert sorted(path.name for path in directory.iterdir()) == ["identity", "revocations", "successor"]
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    carried(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_an_enrollment_that_a_former_daemon_began_goes_on_with_its_key(former: Callable[[str], Path]) -> None:
    directory = former("daemon")
    (directory / "identity.json").unlink()
    document = json.loads((directory / "next.json").read_bytes())
    document["for"] = (b"t" * 16).hex()
    (directory / "next.json").write_text(json.dumps(document))
    store, _ = carried(directory)
    assert store.load() is None
    private = serialization.load_der_private_key(base64.b64decode(document["key"]), None)
    assert public(store.enrolling_key(b"t" * 16)) == public(private)


def test_carrying_over_goes_on_after_a_crash(former: Callable[[str], Path]) -> None:
    directory = former("daemon")
    leftovers = {path.name: path.read_bytes() for path in directory.iterdir()}
    carried(directory)
    after = {path.name: path.read_bytes() for path in directory.iterdir()}
    for name, data in leftovers.items():  # as if it had ended before the last step
        (directory / name).write_bytes(data)
    carried(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == after


@pytest.mark.parametrize("name", ["identity.json", "next.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xff\xff\xff", b'{"for": 1}', b'{"for": "x"}'])
def test_a_damaged_file_of_a_former_daemon_is_set_aside(
    former: Callable[[str], Path], name: str, content: bytes
) -> None:
    directory = former("daemon")
    (directory / name).write_bytes(content)
    store, kept = carried(directory)
    assert (directory / f"{name}.corrupt").read_bytes() == content
    assert (store.load() is None) == (name == "identity.json")
    assert len(kept.load()) == 3
    assert not list(directory.glob("*.json"))


@pytest.mark.parametrize("name", ["revocations", "revocations.bin"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xff\xff\xff", b'{"for": 1}'])
def test_damaged_revocations_are_an_error_and_not_a_new_beginning(
    former: Callable[[str], Path], name: str, content: bytes
) -> None:
    directory = former("daemon")
    if name == "revocations":
        carried(directory)
    (directory / name).write_bytes(content)
    before = sorted(path.name for path in directory.iterdir())
    for _ in range(2):  # it stays an error
        with pytest.raises(UnreadableRevocations, match=name):
            carried(directory)[1].load()
    assert sorted(path.name for path in directory.iterdir()) == before


@pytest.mark.parametrize("damage", [cut_off, altered, unsealed, link])
def test_altered_revocations_are_an_error(former: Callable[[str], Path], damage: Callable[[Path], None]) -> None:
    directory = former("daemon")
    _, kept = carried(directory)
    damage(directory / "revocations")
    with pytest.raises(UnreadableRevocations, match="cannot be read"):
        kept.load()
