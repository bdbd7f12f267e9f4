"""The Workload API as bytes: what SPIFFE's standards and the clients of all languages ask of a server, by a client that
knows nothing but gRPC and the messages' field numbers.

The names in brackets are the sections of the standards: Workload API (WA) and Workload Endpoint (WE).
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from google.protobuf.message import Message

from inborn._internal.host.paths import workload_socket
from inborn_proto import workload
from tests.interop.rig import PATIENCE, System
from tests.rigs.fixtures_up import spiffe_id
from tests.rigs.up_rig import stopped, wait_until

HEADER = (("workload.spiffe.io", "true"),)
STREAMS = ("FetchX509SVID", "FetchX509Bundles")
CERTIFICATE_TAG = 0x30  # DER: SEQUENCE

Seen = tuple[list[bytes], grpc.StatusCode, str]


class Wire:
    """A connection of one's own to the Workload API, as bytes."""

    def __init__(self, system: System) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(system.endpoint, options=options)

    def stream(self, name: str, metadata: Any = HEADER, request: bytes = b"") -> Any:
        return self._channel.unary_stream(f"/SpiffeWorkloadAPI/{name}")(request, metadata=metadata, timeout=PATIENCE)

    def unary(self, name: str, request: bytes = b"") -> grpc.StatusCode:
        try:
            self._channel.unary_unary(f"/SpiffeWorkloadAPI/{name}")(request, metadata=HEADER, timeout=PATIENCE)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def svids(self) -> Iterator[workload.X509SVIDResponse]:
        """Each message of FetchX509SVID."""
        for message in self.stream("FetchX509SVID"):
            yield workload.X509SVIDResponse.FromString(message)

    def close(self) -> None:
        self._channel.close()


def end_of(call: Any) -> Seen:
    """What a stream brings, and how it ends."""
    messages = []
    try:
        for message in call:
            messages.append(message)
    except grpc.RpcError:
        pass
    return messages, call.code(), call.details()


@pytest.fixture
def wire(system: System) -> Iterator[Wire]:
    made = Wire(system)
    yield made
    made.close()


def split_der(data: bytes) -> list[bytes]:
    """DER values that follow each other with nothing between (WA 5.2.1: `ASN.1 DER, no other separators`)."""
    parts = []
    while data:
        assert data[0] == CERTIFICATE_TAG
        octets = data[1] & 0x7F if data[1] & 0x80 else 0
        length = int.from_bytes(data[2 : 2 + octets]) if octets else data[1]
        end = 2 + octets + length
        assert len(data) >= end
        parts.append(data[:end])
        data = data[end:]
    return parts


def certificates(data: bytes) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(part) for part in split_der(data)]


def spki(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def check_whole(message: Message) -> None:
    """All that holds for every FetchX509SVID message, whichever comes when (WA 5.2.1)."""
    assert isinstance(message, workload.X509SVIDResponse)
    assert message.svids
    hints = [svid.hint for svid in message.svids if svid.hint]
    assert len(hints) == len(set(hints))
    for svid in message.svids:
        leaf, *rest = certificates(svid.x509_svid)
        roots = certificates(svid.bundle)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [svid.spiffe_id]
        assert names.critical == (not leaf.subject.rdns)
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca) == (True, False)
        key = load_der_private_key(svid.x509_svid_key, password=None)
        assert spki(key.public_key()) == spki(leaf.public_key())
        assert leaf.not_valid_before_utc <= dt.datetime.now(dt.UTC) < leaf.not_valid_after_utc
        assert rest
        for certificate, issuer in itertools.pairwise([leaf, *rest]):
            certificate.verify_directly_issued_by(issuer)
        assert any(root.subject == rest[-1].issuer for root in roots)
        assert not any(certificate.issuer == certificate.subject for certificate in rest)  # the root is not among them
        assert not {certificate.serial_number for certificate in rest} & {root.serial_number for root in roots}
        check_crls(message.crl, [*rest, *roots])


def check_crls(crls: Any, authorities: list[x509.Certificate]) -> None:
    """A current CRL of every authority: who checks whole chains refuses everybody if one is missing."""
    now = dt.datetime.now(dt.UTC)
    found = [x509.load_der_x509_crl(crl) for crl in crls]
    for authority in authorities:
        (mine,) = [crl for crl in found if crl.issuer == authority.subject]
        assert mine.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        assert mine.next_update_utc is not None
        assert mine.last_update_utc <= now < mine.next_update_utc


# -- the header (WE 3) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (*HEADER, *HEADER),
        (*HEADER, ("workload.spiffe.io", "false")),
        (("workload.spiffe.io", "TRUE"),),
        (("workload.spiffe.io", "True"),),
        (("workload.spiffe.io", "true,true"),),
        (("workload.spiffe.io", ""),),
        (("workload-spiffe-io", "true"),),
    ],
    ids=["missing", "twice", "contradicted", "capitals", "capital", "joined", "empty", "misspelt"],
)
def test_call_without_exactly_the_header_is_an_invalid_argument(
    system: System, wire: Wire, name: str, metadata: Any
) -> None:
    system.entry("/wire")
    messages, code, _ = end_of(wire.stream(name, metadata))
    assert (messages, code) == ([], grpc.StatusCode.INVALID_ARGUMENT)


def test_header_comes_before_entitlement(wire: Wire) -> None:
    assert end_of(wire.stream("FetchX509SVID", ()))[1] is grpc.StatusCode.INVALID_ARGUMENT


def test_header_whose_name_is_in_capitals_gets_nothing(system: System) -> None:
    """gRPC's clients cannot even send it, HTTP/2 forbids it (RFC 9113 8.2.1): by hand, as an attacker would."""
    system.entry("/wire")
    assert data_frames(system, b"workload.spiffe.io") > 0
    assert data_frames(system, b"Workload.Spiffe.Io") == 0


def data_frames(system: System, header: bytes) -> int:
    """Call FetchX509SVID with a header of this name; the number of DATA frames until the first, or the end."""

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload

    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/SpiffeWorkloadAPI/FetchX509SVID",
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        header: b"true",
    }
    block = b"".join(literal(name, value) for name, value in fields.items())
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(workload_socket(system.machine.data_dir)))
        connection.sendall(hello + frame(1, 4, 1, block) + frame(0, 1, 1, b"\0" * 5))
        with connection.makefile("rb") as frames:
            while head := frames.read(9):
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
                payload = frames.read(int.from_bytes(head[:3]))
                if kind in (4, 6) and not flags & 1:  # SETTINGS and PING want their acknowledgement
                    connection.sendall(frame(kind, 1, 0, payload if kind == 6 else b""))
                if kind == 0 and stream == 1:
                    return 1
                if stream == 1 and (kind == 3 or (kind == 1 and flags & 1)):  # RST_STREAM, or trailers
                    return 0
    return 0


# -- profiles that are not offered -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FetchJWTBundles", "FetchWITSVID", "FetchWITBundles"])
def test_streams_of_other_profiles_are_unimplemented(system: System, wire: Wire, name: str) -> None:
    system.entry("/wire")
    assert end_of(wire.stream(name))[:2] == ([], grpc.StatusCode.UNIMPLEMENTED)


@pytest.mark.parametrize("name", ["FetchJWTSVID", "ValidateJWTSVID"])
def test_calls_of_other_profiles_are_unimplemented(system: System, wire: Wire, name: str) -> None:
    system.entry("/wire")
    assert wire.unary(name, b"\x0a\x01a") is grpc.StatusCode.UNIMPLEMENTED


# -- who gets what -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_who_is_nobody_is_denied_at_once_in_the_words_that_clients_look_for(wire: Wire, name: str) -> None:
    began = time.monotonic()
    assert end_of(wire.stream(name)) == ([], grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    assert time.monotonic() - began < 5


def test_first_message_comes_at_once_and_is_whole(system: System, wire: Wire) -> None:
    system.entry("/wire", hint="main")
    began = time.monotonic()
    message = next(wire.svids())
    assert time.monotonic() - began < 5
    check_whole(message)
    assert [(svid.spiffe_id, svid.hint) for svid in message.svids] == [(spiffe_id("/wire"), "main")]
    assert not message.federated_bundles


def test_every_message_is_the_full_state(system: System, wire: Wire) -> None:
    system.entry("/a")
    messages = wire.svids()
    seen = [next(messages)]
    second = system.entry("/b", hint="b")
    seen.append(next(messages))
    system.delete_entry(second)
    seen.append(next(messages))
    for message in seen:
        check_whole(message)
    ids = [{svid.spiffe_id for svid in message.svids} for message in seen]
    assert ids == [{spiffe_id("/a")}, {spiffe_id("/a"), spiffe_id("/b")}, {spiffe_id("/a")}]


def test_hints_are_unique_however_the_entries_are(system: System, wire: Wire) -> None:
    for path in ("/a", "/b", "/c"):
        system.entry(path, hint="same")
    message = next(wire.svids())
    check_whole(message)
    assert sorted(svid.hint for svid in message.svids) == ["", "", "same"]


def test_rotation_brings_a_whole_message_each_time(system: System, wire: Wire) -> None:
    system.entry("/wire", ttl_seconds=2)
    serials = []
    for message in itertools.islice(wire.svids(), 4):
        check_whole(message)
        serials.append(certificates(message.svids[0].x509_svid)[0].serial_number)
    assert serials == sorted(set(serials))


def test_bundles_are_keyed_by_the_trust_domains_id_and_come_with_crls(system: System, wire: Wire) -> None:
    system.entry("/wire")
    svids = next(wire.svids())
    message = workload.X509BundlesResponse.FromString(next(wire.stream("FetchX509Bundles")))
    assert dict(message.bundles) == {"spiffe://example.org": svids.svids[0].bundle}
    assert list(message.crl) == list(svids.crl)


def test_revocation_comes_as_a_crl_on_the_open_stream(system: System, wire: Wire) -> None:
    system.entry("/a")
    system.entry("/b")
    messages = wire.svids()
    first = next(messages)
    (victim,) = [certificates(s.x509_svid)[0] for s in first.svids if s.spiffe_id == spiffe_id("/b")]
    system.machine.revoke("/b")
    for message in messages:
        check_whole(message)
        listed = {entry.serial_number for crl in message.crl for entry in x509.load_der_x509_crl(crl)}
        if victim.serial_number in listed:
            assert [svid.spiffe_id for svid in message.svids] == [spiffe_id("/a")]
            return


# -- how streams end: never with OK, at which some clients stop for ever -----------------------------------------------


def test_stream_ends_with_permission_denied_when_the_identity_is_gone(system: System, wire: Wire) -> None:
    entry = system.entry("/wire")
    call = wire.stream("FetchX509SVID")
    next(call)
    system.delete_entry(entry)
    assert end_of(call)[1:] == (grpc.StatusCode.PERMISSION_DENIED, "no identity issued")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_streams_end_with_unavailable_when_the_agent_ends(system: System, wire: Wire, how: signal.Signals) -> None:
    system.entry("/wire")
    calls = [wire.stream(name) for name in STREAMS]
    for call in calls:
        next(call)
    os.kill(system.agent_pid, how)
    assert [end_of(call)[1] for call in calls] == [grpc.StatusCode.UNAVAILABLE] * 2


def outcome(system: System) -> tuple[grpc.StatusCode, str]:
    """What a new client is told first: OK is a whole message."""
    wire = Wire(system)
    try:
        check_whole(next(wire.svids()))
    except grpc.RpcError as error:
        return error.code(), error.details()
    finally:
        wire.close()
    return grpc.StatusCode.OK, ""


def outcomes(system: System, is_last: Callable[[grpc.StatusCode, str], bool]) -> set[grpc.StatusCode]:
    """What clients are told, one after the other, until the last one is told what is waited for."""
    heard: set[grpc.StatusCode] = set()

    def is_over() -> bool:
        code, details = outcome(system)
        heard.add(code)
        return is_last(code, details)

    wait_until(is_over, "what is waited for", PATIENCE)
    return heard


def test_clients_hear_nothing_but_unavailable_while_the_agent_is_restarted(system: System) -> None:
    """To some clients PERMISSION_DENIED is final, so it is not said before it is sure."""
    system.entry("/wire")
    before = system.agent_pid
    os.kill(before, signal.SIGKILL)
    heard = outcomes(system, lambda code, _: code is grpc.StatusCode.OK)
    assert heard <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}
    assert system.agent_pid != before


def test_restarted_agent_denies_nobody_before_the_ca_has_told_it_the_entries(system: System) -> None:
    """What it kept may lack an entry that was made while it was down."""
    children = system.machine.supervisor.children()
    with stopped(children["signer"]):
        os.kill(children["agent"], signal.SIGKILL)
        heard = outcomes(system, lambda _, details: "connect" not in details and "reset" not in details)
    assert heard == {grpc.StatusCode.UNAVAILABLE}
    heard = outcomes(system, lambda code, _: code is not grpc.StatusCode.UNAVAILABLE)
    assert grpc.StatusCode.PERMISSION_DENIED in heard


def test_expired_certificate_is_never_sent_and_its_end_is_no_denial(system: System, wire: Wire) -> None:
    system.entry("/wire", ttl_seconds=1)
    open_call = wire.stream("FetchX509SVID")
    last = workload.X509SVIDResponse.FromString(next(open_call))
    with stopped(system.machine.supervisor.children()["signer"]):
        end = certificates(last.svids[0].x509_svid)[0].not_valid_after_utc
        wait_until(lambda: dt.datetime.now(dt.UTC) >= end, "the certificate expires", PATIENCE)
        late_call = wire.stream("FetchX509SVID")
        for call in (late_call, open_call):
            assert end_of(call)[:2] == ([], grpc.StatusCode.UNAVAILABLE)
    heard = outcomes(system, lambda code, _: code is grpc.StatusCode.OK)
    assert heard <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}
