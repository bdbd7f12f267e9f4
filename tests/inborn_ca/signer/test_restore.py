"""A database restored from a backup is another incarnation: it says so, and its old authorities never sign again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn.errors import AlreadyExistsError, InbornError, NotFoundError, PreconditionError
from inborn_ca.signer.commands.node_attestors.join_token.attestor import TokenWithdrawn
from inborn_ca.signer.requesters.signed import LogChanged
from inborn_ca.signer.restore import restore
from inborn_ca.store.place import exists
from tests.rigs.fixtures_ca import CaBench, Holder, open_bench


@pytest.fixture
def ca(ca_bench: CaBench) -> CaBench:
    return ca_bench


PASSPHRASE = b"correct horse battery"


def back_up(ca: CaBench, path: Path, *, passphrase: bytes = b"") -> None:
    ids = [a.key_id for a in ca.state.authorities] if passphrase else []
    ca.state.store.backup(path, keys=[(i, ca.state.keys.export_encrypted(i, passphrase)) for i in ids])


def reopen(ca: CaBench, directory: Path) -> CaBench:
    return open_bench(directory, ca.clock)


@pytest.fixture
def backup(ca: CaBench, tmp_path: Path) -> Path:
    path = tmp_path / "backup.db"
    back_up(ca, path, passphrase=PASSPHRASE)
    return path


def test_restored_ca_has_the_same_root_another_log_and_another_authority(
    ca: CaBench, backup: Path, tmp_path: Path
) -> None:
    result = restore(backup, tmp_path / "new", passphrase=PASSPHRASE, clock=ca.clock)
    again = reopen(ca, tmp_path / "new")
    assert again.state.bundle.digest() == ca.state.bundle.digest()
    assert result.former_log_id == ca.state.log_id != again.state.log_id == result.log_id
    old = ca.state.active.key_id
    assert again.state.active.key_id != old
    assert {a.key_id: a.state for a in again.state.authorities}[old] is AuthorityState.RETIRED
    assert again.reader.audit.alarms() == []


def test_open_tokens_end(ca: CaBench, tmp_path: Path) -> None:
    token = ca.create_token()
    back_up(ca, tmp_path / "b.db", passphrase=PASSPHRASE)
    assert restore(tmp_path / "b.db", tmp_path / "new", passphrase=PASSPHRASE, clock=ca.clock).tokens_ended == 1
    with pytest.raises(TokenWithdrawn):
        reopen(ca, tmp_path / "new").enroll(token)


def test_agents_go_on_once_they_have_heard_of_the_new_log(ca: CaBench, tmp_path: Path) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    back_up(ca, tmp_path / "b.db", passphrase=PASSPHRASE)
    restore(tmp_path / "b.db", tmp_path / "new", passphrase=PASSPHRASE, clock=ca.clock)
    again = reopen(ca, tmp_path / "new")
    with pytest.raises(LogChanged):
        again.issue(agent, entry.id)
    agent.response.log_id = again.state.log_id
    again.issue(agent, entry.id)


def test_revocations_and_blocks_of_the_backup_hold(ca: CaBench, tmp_path: Path) -> None:
    agent, entry = ca.enroll(), ca.create_entry()
    svid = ca.issue(agent, entry.id)
    ca.revoke(spiffe_id="spiffe://example.org/web")
    back_up(ca, tmp_path / "b.db", passphrase=PASSPHRASE)
    restore(tmp_path / "b.db", tmp_path / "new", passphrase=PASSPHRASE, clock=ca.clock)
    again = reopen(ca, tmp_path / "new")
    agent.response.log_id = again.state.log_id
    assert again.is_revoked(svid)
    with pytest.raises(InbornError, match="blocked"):
        again.issue(agent, entry.id)


def test_backup_without_keys_needs_the_old_keys_in_place(ca: CaBench, tmp_path: Path) -> None:
    back_up(ca, tmp_path / "b.db")
    with pytest.raises(PreconditionError, match="key of root"):
        restore(tmp_path / "b.db", tmp_path / "new", clock=ca.clock)
    assert not exists(tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "keys", ignore_errors=True)
    shutil.copytree(ca.directory / "keys", tmp_path / "new" / "keys")
    restore(tmp_path / "b.db", tmp_path / "new", clock=ca.clock)
    assert isinstance(reopen(ca, tmp_path / "new").enroll(), Holder)


def test_backup_without_keys_contains_none(ca: CaBench, tmp_path: Path) -> None:
    back_up(ca, tmp_path / "b.db")
    octets = (tmp_path / "b.db").read_bytes()
    for path in (ca.directory / "keys").iterdir():
        assert path.read_bytes().splitlines()[1] not in octets


def test_wrong_passphrase_leaves_nothing(ca: CaBench, backup: Path, tmp_path: Path) -> None:
    with pytest.raises(InbornError):
        restore(backup, tmp_path / "new", passphrase=b"wrong wrong wrong", clock=ca.clock)
    assert [file for file in (tmp_path / "new").iterdir() if file.is_file()] == []


def test_restore_over_a_ca_is_refused(ca: CaBench, backup: Path) -> None:
    with pytest.raises(AlreadyExistsError):
        restore(backup, ca.directory, passphrase=PASSPHRASE, clock=ca.clock)


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_what_is_no_backup_is_refused(ca: CaBench, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk").write_bytes(content)
    with pytest.raises(InbornError):
        restore(tmp_path / "junk", tmp_path / "new", clock=ca.clock)
    with pytest.raises(NotFoundError):
        restore(tmp_path / "missing", tmp_path / "new", clock=ca.clock)
    assert [file for file in (tmp_path / "new").iterdir() if file.is_file()] == []
