"""go-spiffe v2, in processes of its own, over our Workload API, and against our TLS."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import load_certificate
from inborn._internal.tls.context import client_context
from inborn._internal.verification.verify import authorize_id
from tests.interop.rig import System, outlive
from tests.rigs.fixtures_up import Only, echo, spiffe_id, wait_for_paths

pytestmark = pytest.mark.timeout(300)  # the first of them builds the program

SERVICE, CALLER, OTHER = "/go/service", "/go/caller", "/go/other"


def test_go_service_without_an_entry_is_told_so(system: System, go_program: Path) -> None:
    with system.program([go_program, "fetch"]) as go:
        refused = go.expect("error")
    assert refused["code"] == "PermissionDenied"
    assert "no identity issued" in refused["error"]


def test_go_service_sees_all_its_identities_with_their_hints(system: System, go_program: Path) -> None:
    system.entry(SERVICE, hint="inside")
    system.entry(CALLER, hint="inside")
    with system.program([go_program, "fetch"]) as go:
        svids = go.expect("context")["svids"]
    assert {svid["id"] for svid in svids} == {spiffe_id(SERVICE), spiffe_id(CALLER)}
    assert sorted(svid["hint"] for svid in svids) == ["", "inside"]


def test_go_service_follows_rotations(system: System, go_program: Path) -> None:
    system.entry(SERVICE, ttl_seconds=2)
    with system.program([go_program, "watch"]) as go:
        said = [go.expect("svid") for _ in range(4)]
        assert go.end() == 0
    assert {(d["id"], d["certificates"], d["verified"]) for d in said} == {(spiffe_id(SERVICE), 2, 3)}
    serials = [int(d["serial"], 16) for d in said]
    assert serials == sorted(set(serials))


def test_go_service_goes_on_when_the_agent_is_killed(system: System, go_program: Path) -> None:
    system.entry(SERVICE, ttl_seconds=4)
    with system.program([go_program, "watch"]) as go:
        before = int(go.expect("svid")["serial"], 16)
        os.kill(system.agent_pid, signal.SIGKILL)
        go.expect("svid", lambda d: int(d["serial"], 16) > before)
        assert go.end() == 0


def test_go_client_watches_bundles(system: System, go_program: Path) -> None:
    system.entry(SERVICE)
    with system.machine.source() as source, system.program([go_program, "bundles"]) as go:
        (root,) = next(iter(source.snapshot().bundles.values())).roots
        digest = hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest()
        assert go.expect("bundles")["bundles"] == {"example.org": [digest]}
        assert go.end() == 0


def ask(context: ssl.SSLContext, port: int) -> tuple[bytes, int]:
    """One line to a server and back; the answer and the server's serial."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        with context.wrap_socket(raw) as connection:
            connection.sendall(b"hello\n")
            with connection.makefile("rb") as lines:
                answer = lines.readline()
            der = connection.getpeercert(binary_form=True)
    assert der is not None
    return answer, load_certificate(der).serial_number


def test_our_client_and_a_go_server_know_each_other_across_rotations(system: System, go_program: Path) -> None:
    for path in (SERVICE, CALLER, OTHER):
        system.entry(path, ttl_seconds=3)
    with system.machine.source() as source:
        wait_for_paths(source, SERVICE, CALLER, OTHER)
        context = client_context(Only(source, CALLER), authorize_id(parse_spiffe_id(spiffe_id(SERVICE))))
        stranger = client_context(Only(source, OTHER), authorize_id(parse_spiffe_id(spiffe_id(SERVICE))))
        picky = client_context(Only(source, CALLER), authorize_id(parse_spiffe_id(spiffe_id(OTHER))))
        command = [go_program, f"-self={spiffe_id(SERVICE)}", f"-peer={spiffe_id(CALLER)}", "serve"]
        with system.program(command) as go:
            port = go.expect("listening")["port"]
            answer, first = ask(context, port)
            assert answer.decode() == f"{spiffe_id(CALLER)} hello\n"

            with pytest.raises((OSError, ssl.SSLError)):
                assert ask(stranger, port)[0]  # Go's verdict arrives after our handshake
            assert spiffe_id(OTHER) in go.expect("error")["error"]
            with pytest.raises(ssl.SSLCertVerificationError) as refused:
                ask(picky, port)
            assert "not authorized" in str(refused.value)

            outlive(Only(source, CALLER))
            answer, second = ask(context, port)
            assert answer.decode() == f"{spiffe_id(CALLER)} hello\n"
            assert second > first

            # The service keeps what it had when its identity is gone from the list; we know better.
            system.machine.wait_applied(system.machine.revoke(SERVICE).revocation_seq)
            with pytest.raises(ssl.SSLCertVerificationError) as refused:
                ask(context, port)
            assert "revoked" in str(refused.value)
            assert go.end() == 0


async def test_a_go_client_and_our_server_know_each_other_across_rotations(system: System, go_program: Path) -> None:
    for path in (SERVICE, CALLER, OTHER):
        system.entry(path, ttl_seconds=3)
    with system.machine.source() as source:
        wait_for_paths(source, SERVICE, CALLER, OTHER)
        async with echo(Only(source, SERVICE), Only(source, CALLER), server_path=SERVICE, client_path=CALLER) as ours:
            await asyncio.to_thread(dial_from_go, system, go_program, Only(source, CALLER), f"127.0.0.1:{ours.port}")


def dial_from_go(system: System, go_program: Path, source: Only, address: str) -> None:
    with (
        system.program([go_program, f"-self={spiffe_id(CALLER)}", f"-peer={spiffe_id(SERVICE)}", "dial"]) as caller,
        system.program([go_program, f"-self={spiffe_id(OTHER)}", f"-peer={spiffe_id(SERVICE)}", "dial"]) as stranger,
        system.program([go_program, f"-self={spiffe_id(CALLER)}", f"-peer={spiffe_id(OTHER)}", "dial"]) as picky,
    ):
        for go in (caller, stranger, picky):
            go.expect("ready")
        caller.say(address)
        first = caller.expect("answer")
        assert (first["line"], first["certificates"]) == ("hello\n", 2)
        stranger.say(address)
        stranger.expect("error")
        picky.say(address)
        assert f'unexpected ID "{spiffe_id(SERVICE)}"' in picky.expect("error")["error"]

        outlive(source)
        caller.say(address)
        second = caller.expect("answer")
        assert second["line"] == "hello\n"
        assert int(second["serial"], 16) > int(first["serial"], 16)

        # The caller keeps what it had when its identity is gone from the list; our server knows better.
        system.machine.wait_applied(system.machine.revoke(CALLER).revocation_seq)
        caller.say(address)
        caller.expect("error")
