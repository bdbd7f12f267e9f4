"""Agents that come with a certificate of another CA: real processes, and certificates that OpenSSL made."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from inborn_proto import admin_pb2
from tests.rigs.fixtures_up import Machine, wait_for_paths, wait_for_snapshot
from tests.rigs.up_rig import Running, environment, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "x509pop.md"

pytestmark = pytest.mark.needs("openssl")


@dataclass
class Site:
    """A CA that takes the organisation's certificates, and a directory with what OpenSSL made."""

    ca: Machine
    directory: Path

    def inborn(self, *arguments: str) -> str:
        """A verb of an admin."""
        command = [sys.executable, "-m", "inborn_cli", *arguments, "--data-dir", str(self.ca.data_dir)]
        ran = subprocess.run(command, cwd=self.directory, env=environment(), capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def start(self, node: Machine, *arguments: str, is_awaited: bool = True) -> Running:
        files = ["--certificate", str(self.directory / "host.pem"), "--key", str(self.directory / "host.key")]
        return node.start_agent_with(
            self.ca.bootstrap_address, "--node-attestor", "x509pop", *files, *arguments, is_awaited=is_awaited
        )

    @property
    def bundle(self) -> tuple[str, str]:
        return "--bundle", str(self.directory / "roots.pem")


@pytest.fixture
def site(machines: Callable[..., Machine], tmp_path: Path) -> Site:
    """As the page says, with the page's own commands where they are OpenSSL's."""
    ca = machines("ca", verb=("ca", "run"))
    ca.start()
    (script,) = re.findall(r"^```sh\n(openssl req -x509.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True)
    site = Site(ca, tmp_path)
    site.inborn("x509pop", "set", "--ca-bundle", "machines-ca.pem")
    (tmp_path / "roots.pem").write_text(site.inborn("bundle", "show"))
    return site


def fails(agent: Running) -> str:
    assert agent.process.wait(60) == 1
    agent.end()
    return agent.stderr


def test_agent_comes_with_a_certificate_and_its_workloads_have_what_is_registered_by_selector(
    site: Site, machines: Callable[..., Machine]
) -> None:
    node = machines("node")
    site.start(node, *site.bundle)
    site.ca.entry("/name", node="selector:x509pop:subject:cn:web1")
    site.ca.entry("/rack", node="selector:x509pop:san:rack:7")
    site.ca.entry("/other", node="selector:x509pop:subject:cn:web2")
    with node.source() as source:
        wait_for_paths(source, "/name", "/rack")
    (agent,) = site.ca.agents_listed()
    fingerprint = subprocess.run(
        ["openssl", "x509", "-in", "host.pem", "-noout", "-fingerprint", "-sha1"],
        cwd=site.directory,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert agent.attested_by == "x509pop"
    assert agent.attested_subject == fingerprint.partition("=")[2].strip().replace(":", "").lower()
    assert agent.spiffe_id == f"spiffe://example.org/inborn/agent/x509pop/{agent.attested_subject}"
    assert agent.selectors[-1] == "x509pop:subject:cn:web1"


def test_restarted_agent_goes_on_without_its_certificate(site: Site, machines: Callable[..., Machine]) -> None:
    node = machines("node")
    assert site.start(node, *site.bundle).end() == 0
    (site.directory / "host.key").unlink()
    site.ca.entry("/name", node="selector:x509pop:subject:cn:web1")
    site.start(node, *site.bundle)
    with node.source() as source:
        wait_for_paths(source, "/name")


def test_evicted_agent_comes_back_by_itself_and_a_banned_one_does_not(
    site: Site, machines: Callable[..., Machine]
) -> None:
    node = machines("node")
    agent = site.start(node, *site.bundle)
    site.ca.entry("/name", node="selector:x509pop:subject:cn:web1")
    (listed,) = site.ca.agents_listed()
    with node.source() as source:
        wait_for_paths(source, "/name")
        before = source.svid.facts
        site.ca.ask("Revoke", admin_pb2.RevokeRequest(agent=listed.spiffe_id, reissue=True))
        wait_until(lambda: agent.stderr.count("agent.enrolled") == 2, "it has enrolled again", 60)
        wait_for_snapshot(
            source,
            lambda s: any(svid.facts.serial != before.serial for svid in s.svids) and s.revocations.find(before),
            "its workload has another certificate",
            60,
        )
        site.ca.ask("BanAgent", admin_pb2.BanAgentRequest(agent=listed.spiffe_id))
        agent.wait_for("is banned since", 60)
    (listed,) = site.ca.agents_listed()
    assert (listed.state, listed.connected) == ("banned", False)


def test_agent_pins_the_bundle_by_its_digest(site: Site, machines: Callable[..., Machine]) -> None:
    pin = site.inborn("bundle", "show", "--format", "pin").strip()
    wrong = ("0" if pin[0] != "0" else "1") + pin[1:]
    said = fails(site.start(machines("one"), "--pin", wrong, "--trust-domain", "example.org", is_awaited=False))
    assert "server's bundle has digest" in said
    assert not site.ca.agents_listed()
    site.start(machines("two"), "--pin", pin, "--trust-domain", "example.org")
    assert [agent.state for agent in site.ca.agents_listed()] == ["active"]


def test_agent_whose_key_others_can_read_does_not_start(site: Site, machines: Callable[..., Machine]) -> None:
    (site.directory / "host.key").chmod(0o644)
    said = fails(site.start(machines("one"), *site.bundle, is_awaited=False))
    assert "is open to others than its owner: mode 0644" in said
    assert not site.ca.agents_listed()


def test_agent_is_told_why_it_is_not_let_in(site: Site, machines: Callable[..., Machine]) -> None:
    site.inborn("x509pop", "remove")
    said = fails(site.start(machines("one"), *site.bundle, is_awaited=False))
    assert "this CA lets nobody in by x509pop" in said
    assert "inborn x509pop set" in said
