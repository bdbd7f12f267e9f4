"""Keys as files: durable, private, and the ones that they say they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inborn.errors import InbornError, InternalError, NotFoundError, RequestError, UnavailableError
from inborn_ca.authorities.authority_life import key_id
from inborn_ca.authorities.key_store import KeyStore, UnsafeKeyFile, WrongPassphrase
from inborn_ca.authorities.sealing import seal

PASSPHRASE = b"correct horse battery"


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


def numbers(key: ec.EllipticCurvePrivateKey) -> int:
    return key.private_numbers().private_value


def test_a_key_comes_back_as_it_was_made(keys: KeyStore) -> None:
    name, key = keys.create()
    assert name == key_id(key.public_key())
    assert numbers(keys.load(name)) == numbers(key)
    assert keys.has(name)
    assert keys.list() == [name]


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())], ids=["ed25519", "p384"]
)
def test_a_key_of_another_kind_is_refused(keys: KeyStore, tmp_path: Path, key: Any) -> None:
    name = key_id(key.public_key())
    path = tmp_path / "keys" / f"{name.hex()}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(InternalError, match="not P-256"):
        keys.load(name)
    sealed = seal(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), PASSPHRASE, name)
    with pytest.raises(RequestError, match="not P-256"):
        keys.import_encrypted(name, sealed, PASSPHRASE)


def test_files_are_private(keys: KeyStore, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = KeyStore(tmp_path / "open" / "keys")
        store.create()
    finally:
        os.umask(old)
    directory = tmp_path / "open" / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o660])
def test_a_key_that_others_could_read_or_write_is_refused(keys: KeyStore, tmp_path: Path, mode: int) -> None:
    name, _ = keys.create()
    (tmp_path / "keys" / f"{name.hex()}.pem").chmod(mode)
    with pytest.raises(UnsafeKeyFile) as caught:
        keys.load(name)
    assert "chmod" in caught.value.hint


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    with pytest.raises(UnsafeKeyFile):
        KeyStore(tmp_path / "keys")


def test_a_symbolic_link_is_not_followed(keys: KeyStore, tmp_path: Path) -> None:
    name, _ = keys.create()
    path = tmp_path / "keys" / f"{name.hex()}.pem"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InbornError):
        keys.load(name)


def test_a_file_with_another_key_is_refused(keys: KeyStore, tmp_path: Path) -> None:
    first, _ = keys.create()
    second, _ = keys.create()
    directory = tmp_path / "keys"
    (directory / f"{first.hex()}.pem").rename(directory / f"{second.hex()}.pem")
    with pytest.raises(InternalError, match="another key"):
        keys.load(second)


def test_a_file_that_holds_no_key_is_refused(keys: KeyStore, tmp_path: Path) -> None:
    name, _ = keys.create()
    (tmp_path / "keys" / f"{name.hex()}.pem").write_bytes(b"")
    with pytest.raises(InternalError, match="does not hold"):
        keys.load(name)


def test_a_key_that_is_not_there_is_not_found(keys: KeyStore) -> None:
    with pytest.raises(NotFoundError):
        keys.load(b"\1" * 20)


def test_a_deleted_key_is_gone_and_may_be_deleted_again(keys: KeyStore) -> None:
    name, _ = keys.create()
    keys.delete(name)
    keys.delete(name)
    assert not keys.has(name)
    assert keys.list() == []


def test_an_encrypted_key_moves_to_another_store(keys: KeyStore, tmp_path: Path) -> None:
    name, key = keys.create()
    data = keys.export_encrypted(name, PASSPHRASE)
    other = KeyStore(tmp_path / "other")
    other.import_encrypted(name, data, PASSPHRASE)
    assert numbers(other.load(name)) == numbers(key)


def test_a_wrong_passphrase_opens_nothing(keys: KeyStore, tmp_path: Path) -> None:
    name, _ = keys.create()
    data = keys.export_encrypted(name, PASSPHRASE)
    other = KeyStore(tmp_path / "other")
    with pytest.raises(WrongPassphrase):
        other.import_encrypted(name, data, PASSPHRASE + b"!")
    with pytest.raises(WrongPassphrase):
        other.import_encrypted(name, data[:-1], PASSPHRASE)
    assert other.list() == []


def test_an_unencrypted_key_is_not_imported(keys: KeyStore) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(RequestError):
        keys.import_encrypted(key_id(key.public_key()), plain, PASSPHRASE)


def test_a_key_under_another_name_is_not_imported(keys: KeyStore) -> None:
    name, _ = keys.create()
    data = keys.export_encrypted(name, PASSPHRASE)
    with pytest.raises(WrongPassphrase):
        keys.import_encrypted(b"\1" * 20, data, PASSPHRASE)


def test_a_short_passphrase_is_refused(keys: KeyStore) -> None:
    name, _ = keys.create()
    with pytest.raises(RequestError, match="at least 12"):
        keys.export_encrypted(name, b"12345678901")


def test_what_a_crash_left_behind_does_not_stand_in_the_way(keys: KeyStore, tmp_path: Path) -> None:
    name, _ = keys.create()
    data = keys.export_encrypted(name, PASSPHRASE)
    keys.delete(name)
    (tmp_path / "keys" / f".{name.hex()}.pem.new").write_bytes(b"half a key")
    assert keys.list() == []
    keys.import_encrypted(name, data, PASSPHRASE)
    keys.load(name)


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError):
        KeyStore(tmp_path / "file" / "keys")
