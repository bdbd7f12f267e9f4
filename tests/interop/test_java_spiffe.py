"""java-spiffe, in a JVM of its own, over our Workload API."""

from __future__ import annotations

import pytest

from tests.interop.rig import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_java_service_gets_its_identity_and_sees_it_rotate(system: System, java_command: list[str]) -> None:
    system.entry("/java", ttl_seconds=3)
    with system.program(java_command) as java:
        said = [java.expect("svid")["text"].split() for _ in range(2)]
        assert {(spiffe_id, certificates) for spiffe_id, _, certificates in said} == {
            ("spiffe://example.org/java", "2")
        }
        assert int(said[0][1], 16) < int(said[1][1], 16)
        assert java.end() == 0
