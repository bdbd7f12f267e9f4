"""What the agent writes is whole or not there, and what it reads is what it wrote."""

from __future__ import annotations

import datetime as dt
import os
import stat
import uuid
from pathlib import Path

import pytest

from inborn._internal.feed.feed_content import Authority, FeedEntry
from inborn._internal.host.directory_lock import DirectoryInUse, DirectoryLock
from inborn._internal.host.files import (
    CorruptFile,
    private_directory,
    read_sealed,
    write_file,
    write_sealed,
)
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn.errors import RequestError, UnavailableError
from inborn_agent.cache.cache import Cache
from inborn_agent.cache.feed_changes import DomainChange, NodeChange
from inborn_agent.cache.slots import Held
from inborn_agent.disk.kept_state import KeptState
from inborn_agent.disk.svid_store import SvidStore
from inborn_agent.disk.tmpfs import is_in_memory
from tests.rigs.certificates import NOW, make_bundle, make_issuing, make_leaf, make_root

TD = TrustDomain("example.org")
NODE = parse_spiffe_id("spiffe://example.org/inborn/agent/1")
ROOT = make_root()
ISSUING = make_issuing(ROOT)
ENTRY = FeedEntry(
    id=str(uuid.uuid4()),
    spiffe_id=parse_spiffe_id("spiffe://example.org/web"),
    selectors=frozenset({parse_selector("unix:uid:1000")}),
    ttl=dt.timedelta(hours=1),
    hint="main",
    revision=7,
)


def rule(seq: int, path: str = "/web") -> Revocation:
    return Revocation(
        seq=seq,
        kind=RevocationKind.SPIFFE_ID,
        value=f"spiffe://example.org{path}".encode(),
        cut_offs={ISSUING.key_id: None},
        reason=1,
        blocks=True,
        revoked_at=NOW,
    )


def filled() -> Cache:
    cache = Cache(trust_domain=TD, spread=lambda: 0.5)
    authority = Authority(
        certificate=ISSUING.certificate, key_id=ISSUING.key_id, state=AuthorityState.ACTIVE, crl=b"crl"
    )
    for log_id, rules in ((b"a" * 16, (rule(1, "/old"),)), (b"b" * 16, (rule(1, "/new"), rule(2, "/newer")))):
        change = DomainChange(
            log_id=log_id,
            revision=9,
            is_snapshot=True,
            bundle=make_bundle(ROOT),
            authorities=(authority,),
            revocations=rules,
            dropped=(),
            revocation_seq=len(rules),
        )
        cache.apply_domain(change, NOW)
    change = NodeChange(
        node=NODE,
        log_id=b"b" * 16,
        revision=4,
        is_snapshot=True,
        entries=(ENTRY,),
        removed=(),
    )
    cache.apply_node(change, NOW)
    return cache


def saved(directory: Path) -> KeptState:
    state, cache = KeptState(directory), filled()
    state.save_domain(state.domain_bytes(cache))
    state.save_node(state.node_bytes(cache))
    return state


def loaded(state: KeptState) -> Cache:
    cache = Cache(trust_domain=TD, spread=lambda: 0.5)
    state.load(cache, NOW)
    return cache


def test_a_written_file_is_for_its_owner_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"one")
    write_file(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"one")
    (tmp_path / ".x.new").mkdir()  # in the way
    with pytest.raises(UnavailableError):
        write_file(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one"


@pytest.mark.parametrize("cut", [0, 1, 20, 60])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    write_sealed(tmp_path / "x", b"content" * 10)
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[:cut])
    with pytest.raises(CorruptFile):
        read_sealed(tmp_path / "x")


def test_a_file_with_one_bit_changed_is_refused(tmp_path: Path) -> None:
    write_sealed(tmp_path / "x", b"content")
    whole = bytearray((tmp_path / "x").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "x").write_bytes(whole)
    with pytest.raises(CorruptFile):
        read_sealed(tmp_path / "x")


def test_a_link_or_a_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    write_sealed(tmp_path / "real", b"content")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "directory", "pipe"):
        with pytest.raises(CorruptFile):
            read_sealed(tmp_path / name)
    assert read_sealed(tmp_path / "nothing") is None


def test_a_private_directory_is_closed_and_one_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    assert stat.S_IMODE(private_directory(tmp_path / "a").stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(RequestError):
        private_directory(tmp_path / "link")


@pytest.mark.root
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.chown(tmp_path / "a", 1000, 1000)
    with pytest.raises(RequestError):
        private_directory(tmp_path / "a")


def test_one_agent_holds_a_directory(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryInUse, match=f"is in use by process {os.getpid()}"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()


def test_everything_that_the_ca_said_is_there_after_a_restart(tmp_path: Path) -> None:
    cache = loaded(saved(tmp_path))
    before = filled()
    assert cache.is_synced
    assert list(cache.entries) == [ENTRY]
    assert [(log.log_id, log.seq, list(log)) for log in cache.revocations.logs()] == [
        (log.log_id, log.seq, list(log)) for log in before.revocations.logs()
    ]
    assert (cache.domain_mark, cache.node_mark, cache.node) == (before.domain_mark, before.node_mark, NODE)
    assert cache.crls == (b"crl",)
    assert cache.bundle == before.bundle


@pytest.mark.parametrize("name", ["domain.cache", "node.cache", "former.cache"])
def test_a_corrupt_file_is_set_aside_and_never_trusted(tmp_path: Path, name: str) -> None:
    state = saved(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    cache = loaded(state)
    assert (tmp_path / f"{name}.corrupt").exists()
    assert not (tmp_path / name).exists()
    assert cache.is_synced is (name == "former.cache")


def test_what_is_of_another_trust_domain_is_set_aside(tmp_path: Path) -> None:
    state = saved(tmp_path)
    other = Cache(trust_domain=TrustDomain("other.org"), spread=lambda: 0.5)
    state.load(other, NOW)
    assert not other.is_synced
    assert len(other.entries) == 0


def test_an_svid_is_there_after_a_restart_with_its_key_and_what_it_was_issued_for(tmp_path: Path) -> None:
    store = SvidStore(tmp_path, allow_disk=True)
    svid = make_leaf(ISSUING, "spiffe://example.org/web").svid(issued_at=NOW)
    store.put(Held(entry=ENTRY, svid=svid), revision=7)
    (kept,) = SvidStore(tmp_path, allow_disk=True).load()
    assert (kept.entry_id, kept.revision, kept.svid.issued_at) == (ENTRY.id, 7, NOW)
    assert (kept.svid.chain_der(), kept.svid.key_der()) == (svid.chain_der(), svid.key_der())
    store.drop(ENTRY.id)
    assert list(store.load()) == []


def test_keys_are_not_kept_where_there_is_no_memory_file_system(tmp_path: Path) -> None:
    if is_in_memory(tmp_path):
        pytest.skip("needs a temporary directory on a disk")
    store = SvidStore(tmp_path)
    store.put(Held(entry=ENTRY, svid=make_leaf(ISSUING).svid()), revision=1)
    assert not store.is_active
    assert list((tmp_path / "svids").iterdir()) == []


def test_dev_shm_is_in_memory_and_a_path_that_is_not_there_is_not() -> None:
    if Path("/dev/shm").is_dir():
        assert is_in_memory(Path("/dev/shm"))
    assert not is_in_memory(Path("/nowhere/at/all"))


def test_an_svid_file_of_another_entry_or_with_another_key_is_set_aside(tmp_path: Path) -> None:
    store = SvidStore(tmp_path, allow_disk=True)
    store.put(Held(entry=ENTRY, svid=make_leaf(ISSUING).svid()), revision=1)
    path = tmp_path / "svids" / f"{ENTRY.id}.svid"
    path.rename(path.with_name(f"{uuid.uuid4()}.svid"))
    (tmp_path / "svids" / "garbage.svid").write_bytes(b"{}")
    assert list(store.load()) == []
    assert len(list((tmp_path / "svids").glob("*.corrupt"))) == 2


def test_an_entry_id_never_becomes_a_path(tmp_path: Path) -> None:
    store = SvidStore(tmp_path, allow_disk=True)
    (tmp_path / "victim.svid").write_bytes(b"x")
    store.drop("../victim")
    assert (tmp_path / "victim.svid").exists()
