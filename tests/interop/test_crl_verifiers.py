"""Our CRLs, fetched over HTTP and judged by software that nobody here wrote."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_proto import admin_pb2
from tests.interop.rig import HERE, PATIENCE, System
from tests.rigs.fixtures_up import wait_for_snapshot
from tests.rigs.up_rig import wait_until

GO_WANTED = (1, 21)  # earlier ones give no reasons


@dataclass
class Material:
    """Files of one test: a client that is alive and one that was revoked, and the CRLs as HTTP gives them."""

    directory: Path
    alive: X509Svid
    dead: X509Svid

    def file(self, name: str) -> str:
        return str(self.directory / name)


def fetch(address: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def crl_names(address: str, serial: int) -> bool:
    """Whether a CRL that is served names this serial."""
    for row in json.loads(fetch(address, "/crl"))["crls"]:
        if x509.load_der_x509_crl(fetch(address, row["path"])).get_revoked_certificate_by_serial_number(serial):
            return True
    return False


@pytest.fixture
def material(system: System, tmp_path: Path) -> Material:
    paths = ("/alive", "/dead")
    for path in paths:
        system.entry(path, ttl_seconds=600)
    with system.machine.source() as source:
        wait_for_snapshot(source, lambda s: {svid.spiffe_id.path for svid in s.svids} == set(paths), "both", PATIENCE)
        snapshot = source.snapshot()
    alive, dead = sorted(snapshot.svids, key=lambda svid: svid.spiffe_id.path)
    made = Material(tmp_path, alive, dead)
    for name, svid in (("alive", alive), ("dead", dead)):
        (tmp_path / f"{name}.pem").write_bytes(svid.leaf.public_bytes(Encoding.PEM))
        (tmp_path / f"{name}-chain.pem").write_bytes(svid.chain_pem())
    (tmp_path / "issuing.pem").write_bytes(alive.chain[1].public_bytes(Encoding.PEM))
    (bundle,) = snapshot.bundles.values()
    (tmp_path / "root.pem").write_bytes(bundle.pem())
    system.machine.ask("Revoke", admin_pb2.RevokeRequest(spiffe_id=str(dead.spiffe_id), reason="superseded"))
    address = system.machine.status().crl_address
    wait_until(lambda: crl_names(address, dead.leaf.serial_number), "the CRL has it", PATIENCE)
    pem = b""
    for row in json.loads(fetch(address, "/crl"))["crls"]:
        der = fetch(address, row["path"])
        (tmp_path / f"{row['kind']}-{row['authority']}.crl").write_bytes(der)
        pem += x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    (tmp_path / "crl.pem").write_bytes(pem)
    return made


def run(*command: str, directory: Path | None = None, status: int | None = None) -> str:
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    said = done.stdout + done.stderr
    assert status is None or done.returncode == status, said
    return said


@pytest.mark.needs("openssl")
def test_openssl_accepts_our_crls_and_refuses_whom_they_name(material: Material) -> None:
    for name, status, word in (("alive", 0, ": OK"), ("dead", 2, "certificate revoked")):
        said = run(
            "openssl", "verify", "-crl_check_all", "-x509_strict",
            "-CAfile", material.file("root.pem"), "-untrusted", material.file("issuing.pem"),
            "-CRLfile", material.file("crl.pem"), material.file(f"{name}.pem"), status=status,
        )  # fmt: skip
        assert word in said


@pytest.mark.needs("certtool")
def test_gnutls_accepts_our_crls_and_refuses_whom_they_name(material: Material) -> None:
    for name, word in (("alive", "Chain verification output: Verified."), ("dead", "revoked")):
        said = run(
            "certtool", "--verify", "--load-ca-certificate", material.file("root.pem"),
            "--load-crl", material.file("crl.pem"), "--infile", material.file(f"{name}-chain.pem"),
        )  # fmt: skip
        assert word in said, said
        assert (name == "dead") == ("revoked" in said)


@pytest.mark.needs("certutil", "crlutil")
def test_nss_accepts_our_crls_and_refuses_whom_they_name(material: Material) -> None:
    database = f"sql:{material.directory}"
    run("certutil", "-N", "-d", database, "--empty-password", status=0)
    for nickname, trust, file in (
        ("root", "CT,C,C", "root.pem"),
        ("issuing", ",,", "issuing.pem"),
        ("alive", ",,", "alive.pem"),
        ("dead", ",,", "dead.pem"),
    ):
        run("certutil", "-A", "-d", database, "-n", nickname, "-t", trust, "-i", material.file(file), status=0)
    for crl in material.directory.glob("*.crl"):
        run("crlutil", "-I", "-d", database, "-i", str(crl), status=0)
    assert "certificate is valid" in run("certutil", "-V", "-d", database, "-n", "alive", "-u", "C", status=0)
    assert "revoked" in run("certutil", "-V", "-d", database, "-n", "dead", "-u", "C")


@pytest.mark.needs("go")
def test_go_accepts_our_crls_and_refuses_whom_they_name(material: Material, tmp_path: Path) -> None:
    version = run("go", "env", "GOVERSION", status=0).strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < GO_WANTED:
        pytest.skip(f"needs go {GO_WANTED[0]}.{GO_WANTED[1]} or later: {version}")
    program = tmp_path / "crl.go"
    shutil.copy(HERE / "crl" / "crl.go", program)
    binary = str(tmp_path / "crl-go")
    run("go", "build", "-o", binary, str(program), status=0)
    crls = [str(path) for path in material.directory.glob("*.crl")]
    for name, word in (("alive", "good"), ("dead", "revoked reason 4")):
        said = run(
            binary,
            material.file("root.pem"),
            material.file("issuing.pem"),
            material.file(f"{name}.pem"),
            *crls,
            status=0,
        )
        assert said.strip() == word


@pytest.mark.needs("java", "javac")
def test_java_accepts_our_crls_and_refuses_whom_they_name(material: Material) -> None:
    crls = [str(path) for path in material.directory.glob("*.crl")]
    program = str(HERE / "crl" / "Crl.java")
    said = run(
        "java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", program, material.file("root.pem"),
        material.file("issuing.pem"), material.file("alive.pem"), material.file("dead.pem"), *crls, status=0,
    )  # fmt: skip
    assert said.splitlines() == ["good", "revoked SUPERSEDED"], said
