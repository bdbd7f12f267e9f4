"""Files of an identity change all at once, on a real file system with real readers."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from inborn._internal.source.snapshot import Snapshot
from inborn.errors import RequestError
from inborn.testing import MemoryAuthority
from inborn_cli.workload.identity_files import FileSet, identity_files

NAMES = ("svid.pem", "key.pem", "bundle.pem", "crl.pem")


def files_of(generation: int) -> dict[str, bytes]:
    return {name: f"{name} {generation} ".encode() * 500 for name in NAMES}


def names_in(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_is_made_closed_and_the_key_is_the_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "tls"
    old = os.umask(0)
    try:
        FileSet(directory).write(files_of(1))
    finally:
        os.umask(old)
    assert mode_of(directory) == 0o700
    assert mode_of(directory / "key.pem") == 0o600
    assert {mode_of(directory / name) for name in NAMES if name != "key.pem"} == {0o644}
    assert {name: (directory / name).read_bytes() for name in NAMES} == files_of(1)


def test_directory_that_others_may_enter_stays_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    old = os.umask(0o077)
    try:
        FileSet(tmp_path).write(files_of(1))
    finally:
        os.umask(old)
    assert mode_of(tmp_path / "..data") == 0o755
    assert mode_of(tmp_path / "bundle.pem") == 0o644
    assert mode_of(tmp_path / "key.pem") == 0o600


def test_reader_never_sees_a_mixture_or_nothing(tmp_path: Path) -> None:
    files = FileSet(tmp_path)
    files.write(files_of(0))
    is_over = threading.Event()
    seen: set[bytes] = set()
    faults: list[str] = []

    def read() -> None:
        while not is_over.is_set():
            try:
                at = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    contents = {}
                    for name in NAMES:
                        descriptor = os.open(name, os.O_RDONLY, dir_fd=at)
                        with os.fdopen(descriptor, "rb") as file:
                            contents[name] = file.read()
                finally:
                    os.close(at)
                generations = {content.split()[1] for content in contents.values()}
                if len(generations) != 1 or contents != files_of(int(generations.pop())):
                    faults.append("torn")
                seen.add((tmp_path / "svid.pem").read_bytes().split()[1])
            except FileNotFoundError as error:
                # Two changes may go by while four files are read: such a reader has to begin again. A path, though,
                # always leads to something.
                if str(error.filename).startswith(str(tmp_path)):
                    faults.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for generation in range(1, 80):
        files.write(files_of(generation))
    is_over.set()
    for reader in readers:
        reader.join()
    assert not faults
    assert len(seen) > 1
    assert (tmp_path / "key.pem").read_bytes() == files_of(79)["key.pem"]


def test_only_the_newest_and_the_one_before_remain(tmp_path: Path) -> None:
    files = FileSet(tmp_path)
    for generation in range(5):
        files.write(files_of(generation))
    generations = {name for name in names_in(tmp_path) if name.startswith("..gen-")}
    assert len(generations) == 2
    assert os.readlink(tmp_path / "..data") in generations
    assert names_in(tmp_path) == {*NAMES, "..data", *generations}


def test_failure_half_way_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    files = FileSet(tmp_path)
    files.write(files_of(1))
    before = names_in(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.write({**files_of(2), "no/such/place": b""})
    assert names_in(tmp_path) == before
    assert (tmp_path / "svid.pem").read_bytes() == files_of(1)["svid.pem"]


def test_files_that_were_there_are_replaced_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "svid.pem").write_text("old", encoding="ascii")
    (tmp_path / "other").write_text("mine", encoding="ascii")
    files = FileSet(tmp_path)
    files.write(files_of(1))
    assert (tmp_path / "svid.pem").read_bytes() == files_of(1)["svid.pem"]
    files.remove()
    assert names_in(tmp_path) == {"other"}


def test_writers_of_one_directory_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for round_ in range(20):
            FileSet(tmp_path).write(files_of(100 * number + round_))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    generations = {(tmp_path / name).read_bytes().split()[1] for name in NAMES}
    assert len(generations) == 1


def test_files_hold_the_identity() -> None:
    authority = MemoryAuthority("example.org")
    snapshot = authority.source("spiffe://example.org/web").snapshot()
    (svid,) = snapshot.svids
    files = identity_files(snapshot, svid)
    chain = x509.load_pem_x509_certificates(files["svid.pem"])
    key = load_pem_private_key(files["key.pem"], password=None)
    assert chain == [svid.leaf, authority.issuing]
    assert key.public_key() == svid.leaf.public_key()
    assert files["bundle.pem"] == authority.root.public_bytes(Encoding.PEM)
    assert files["crl.pem"] == b""


def test_identity_without_its_bundle_is_not_written() -> None:
    authority = MemoryAuthority("example.org")
    snapshot = authority.source("spiffe://example.org/web").snapshot()
    bare = Snapshot(trust_domain=snapshot.trust_domain, svids=snapshot.svids, bundles={})
    with pytest.raises(RequestError, match=r"no bundle of example\.org"):
        identity_files(bare, bare.svids[0])
