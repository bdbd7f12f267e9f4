"""What enforcement costs a peer, and how soon it bites: look-ups, the interceptor, cut streams, the next call."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gc
import logging
import random
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization

from benchmarks.machine import measure
from benchmarks.report import Figure, percentile
from benchmarks.rig import TRUST_DOMAIN, Rig, running
from inborn._internal.grpc_adapter.channel import grpc_channel
from inborn._internal.grpc_adapter.interceptor import grpc_server_credentials, grpc_server_interceptor
from inborn._internal.revocation.revocation_log import LogPart, RevocationLog
from inborn._internal.revocation.revocation_set import Revocation, RevocationKind, RevocationSet
from inborn._internal.source.snapshot import IdentitySource, StaticSource
from inborn._internal.source.x509_source import X509Source
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.spiffe.x509_svid import CertificateFacts, X509Svid
from inborn._internal.verification.verify import authorize_any, authorize_id
from inborn.testing import MemoryAuthority
from inborn_proto import admin_pb2

__all__ = ["revoke_until_refused", "run"]

SERIALS = 1_000_000
LOOKUPS = 20_000
ROUNDS, CALLS = 100, 60
STREAMS = 100
CUTS = 7
REVOCATIONS = 200
WAIT = 20.0

_AUTHORITY = b"\x01" * 20
_LOG = b"l" * 16
_RECORD = struct.Struct(">QqHB20s")
_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_SERVER = parse_spiffe_id("spiffe://example.org/server")
_CLIENT = parse_spiffe_id("spiffe://example.org/client")
_OTHER = parse_spiffe_id("spiffe://example.org/other")


def run() -> list[Figure]:
    logging.getLogger("inborn").setLevel(logging.ERROR)  # peers are refused all the time here
    figures = []
    for part in (_lookups, _interceptor, _cut):
        with measure([]) as spent:
            made = part()
        figures += [dataclasses.replace(figure, others=spent.others) for figure in made]
    gc.collect()  # the service and its caller live in this process, and a million rules were just in it
    with running() as rig:
        with measure(rig.pids) as spent:
            seconds = revoke_until_refused(rig, REVOCATIONS)
    for share, bar in ((0.5, 10), (0.99, 50)):
        figures.append(
            Figure(
                name=f"revoke returned until the next call is refused, p{share * 100:.0f}",
                value=percentile(seconds, share) * 1000,
                unit="ms",
                bar=bar,
                detail=f"{len(seconds)} times, open connection; CA, agent and service on this machine",
                others=spent.others,
            )
        )
    return figures


# -- look-ups ----------------------------------------------------------------------------------------------------------


def _serial(n: int) -> bytes:
    """19 bytes that rise, as the CA makes them."""
    return (1 << 144 | n << 88 | random.Random(n).getrandbits(88)).to_bytes(19, "big")


def _facts(serial: bytes) -> CertificateFacts:
    return CertificateFacts(
        spiffe_id=_CLIENT, serial=serial, key_hash=b"k" * 32, authority=_AUTHORITY, not_before=_NOW, not_after=_NOW
    )


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _lookups() -> list[Figure]:
    gc.collect()
    before = _resident_mib()
    log = RevocationLog(_LOG, SERIALS)
    begun = time.perf_counter()
    for first in range(0, SERIALS, 25_000):
        records = [_RECORD.pack(n + 1, 0, 0, 0, b"\0" + _serial(n)) for n in range(first, first + 25_000)]
        log.extend(LogPart(authorities=(_AUTHORITY,), records=b"".join(records)))
    del records
    gc.collect()
    built, room = time.perf_counter() - begun, _resident_mib() - before
    revocations = RevocationSet()
    revocations.apply_log(log)
    chance = random.Random(1)
    figures = [
        Figure(name=f"{SERIALS:,} revoked serials", value=room, unit="MiB", bar=120, detail=f"made in {built:.1f} s")
    ]
    spared = [_facts(_serial(SERIALS + n)) for n in range(LOOKUPS)]
    revoked = [_facts(_serial(n)) for n in chance.sample(range(SERIALS), LOOKUPS)]
    for name, wanted, bar in (("not revoked", spared, 1000.0), ("revoked", revoked, None)):
        best = min(_seconds(lambda: [revocations.find(facts) for facts in wanted]) for _ in range(9))  # noqa: B023
        figures.append(Figure(name=f"look-up among them, {name}", value=best / LOOKUPS * 1e9, unit="ns", bar=bar))
    delta = [
        Revocation(
            seq=SERIALS + n,
            kind=RevocationKind.SERIAL,
            value=_serial(SERIALS + n),
            cut_offs={_AUTHORITY: _serial(SERIALS + n)},
        )
        for n in range(1, 10_001)
    ]
    figures.append(
        Figure(
            name="10,000 more are applied",
            value=_seconds(lambda: revocations.apply_delta(_LOG, SERIALS + 10_000, delta)) * 1000,
            unit="ms",
            bar=100,
        )
    )
    return figures


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


# -- gRPC --------------------------------------------------------------------------------------------------------------


class _Handlers(grpc.GenericRpcHandler):
    """`answers` gives back what it gets, `streams` says one thing and waits."""

    def __init__(self) -> None:
        self.never = threading.Event()
        self._answers: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        self._streams: Any = grpc.unary_stream_rpc_method_handler(self._stream)

    def service(self, handler_call_details: Any) -> Any:
        return self._streams if handler_call_details.method == "/bench/streams" else self._answers

    def _stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"first"
        self.never.wait(WAIT)
        yield b"last"


@contextmanager
def _serving(
    source: IdentitySource, interceptor: grpc.ServerInterceptor | None = None
) -> Iterator[tuple[str, _Handlers]]:
    interceptors = [interceptor or grpc_server_interceptor(source, authorize_any())]
    handlers = _Handlers()
    server = grpc.server(futures.ThreadPoolExecutor(STREAMS + 20), interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(source))
    server.start()
    try:
        yield f"127.0.0.1:{port}", handlers
    finally:
        handlers.never.set()
        server.stop(0).wait()


def _stock_channel(svid: X509Svid, roots: bytes, address: str, name: str) -> grpc.Channel:
    """A client that is not ours, with a certificate that it does not renew."""
    key = svid.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(roots, key, svid.chain_pem()),
        [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)],
    )


class _Toggled(grpc.ServerInterceptor):
    """Guards every method but one: with and without, on the same connection and the same threads."""

    def __init__(self, guard: grpc.ServerInterceptor) -> None:
        self._guard = guard

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if handler_call_details.method == "/bench/unguarded":
            return continuation(handler_call_details)
        return self._guard.intercept_service(continuation, handler_call_details)


class _AuthContext(grpc.ServerInterceptor):
    """What every interceptor that wants to know its caller has to ask for."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)

        def answer(request: bytes, context: Any) -> Any:
            context.auth_context()
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer)


def _interceptor() -> list[Figure]:
    """Calls with and without it, in turn; between a client and a server of ours, and from a stock client."""
    authority = MemoryAuthority("example.org")
    source = authority.source(_SERVER, dns_names=["server.bench"])
    client = authority.source(_CLIENT)
    figures = []
    for guard, part, bar in (
        (grpc_server_interceptor(source, authorize_any()), "the interceptor's share of a unary call", 3.0),
        (_AuthContext(), "  gRPC's auth_context() alone", None),
    ):
        with _serving(source, _Toggled(guard)) as (address, _):
            ours = grpc_channel(client, address, authorize_id(_SERVER))
            stock = _stock_channel(client.snapshot().svids[0], authority.bundle.pem(), address, "server.bench")
            for whose, channel in (("our client", ours), ("a stock client", stock)):
                without, with_it = _medians(channel)
                figures.append(
                    Figure(
                        name=f"{part} of {whose}",
                        value=(with_it / without - 1) * 100,
                        unit="%",
                        bar=bar if channel is ours else None,
                        detail=f"{without * 1e6:.0f} and {with_it * 1e6:.0f} us",
                    )
                )
    return figures


def _medians(channel: Any) -> tuple[float, float]:
    """Seconds of a call without the guard, and with it."""
    calls: dict[str, Any] = {name: channel.unary_unary(f"/bench/{name}") for name in ("unguarded", "answers")}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(300):
            call(b"x" * 300, timeout=WAIT)
    for number in range(ROUNDS):
        for name in sorted(calls, reverse=bool(number % 2)):
            for _ in range(CALLS):
                seconds[name].append(_seconds(lambda: calls[name](b"x" * 300, timeout=WAIT)))  # noqa: B023
    return statistics.median(seconds["unguarded"]), statistics.median(seconds["answers"])


def _cut() -> list[Figure]:
    """From the revocation to the end of the last of an identity's streams, as their client sees it."""
    seconds = []
    for _ in range(CUTS):
        authority = MemoryAuthority("example.org")
        source = authority.source(_SERVER)
        # The client does not hear of its own end: it is the server that acts.
        doomed_source = StaticSource(
            dataclasses.replace(authority.source(_CLIENT).snapshot(), revocations=RevocationSet())
        )
        with _serving(source) as (address, handlers):
            with (
                grpc_channel(doomed_source, address, authorize_id(_SERVER)) as channel,
                grpc_channel(authority.source(_OTHER), address, authorize_id(_SERVER)) as other,
            ):
                doomed = [channel.unary_stream("/bench/streams")(b"", timeout=WAIT) for _ in range(STREAMS)]
                spared = [other.unary_stream("/bench/streams")(b"", timeout=WAIT) for _ in range(10)]
                for stream in (*doomed, *spared):
                    assert next(stream) == b"first"
                begun = time.perf_counter()
                authority.revoke(_CLIENT)
                for stream in doomed:
                    assert _code(lambda: next(stream)) is grpc.StatusCode.UNAUTHENTICATED  # noqa: B023
                seconds.append(time.perf_counter() - begun)
                handlers.never.set()
                assert [next(stream) for stream in spared] == [b"last"] * len(spared)
    return [
        Figure(
            name=f"{STREAMS} live streams of one identity are cut",
            value=statistics.median(seconds) * 1000,
            unit="ms",
            bar=200,
            detail=f"median of {CUTS}, worst {max(seconds) * 1000:.0f}; 10 bystanders went on",
        )
    ]


def _code(call: Callable[[], object]) -> grpc.StatusCode | None:
    """The status that a call ends with; None: it has answered."""
    try:
        call()
    except grpc.RpcError as e:
        failed: Any = e
        code: grpc.StatusCode = failed.code()
        return code
    return None


# -- through the real program ------------------------------------------------------------------------------------------


def revoke_until_refused(rig: Rig, times: int) -> list[float]:
    """How long after `revoke` returned a service took calls on an open connection of whoever was revoked, in seconds.

    The caller is a stock client with a copy of a certificate, as a thief has one; who it was taken from gets a new one.
    """
    rig.create_entry("/service")
    rig.create_entry("/caller")
    service = parse_spiffe_id(f"spiffe://{TRUST_DOMAIN}/service")
    seconds = []
    with X509Source(rig.socket, timeout=WAIT) as both:
        mine = _Only(both, "/service")
        with _serving(mine) as (address, _):
            before: X509Svid | None = None
            for _ in range(times):
                before = _svid_of(both, "/caller", before)
                roots = b"".join(bundle.pem() for bundle in both.snapshot().bundles.values())
                with _stock_channel(before, roots, address, service.alias) as channel:
                    call: Any = channel.unary_unary("/bench/answers")
                    call(b"x", timeout=WAIT)
                    rig.call(
                        "Revoke", admin_pb2.RevokeRequest(spiffe_id=f"spiffe://{TRUST_DOMAIN}/caller", reissue=True)
                    )
                    begun = time.perf_counter()
                    # As fast as they can go, the calls would keep both processors from those who bring the news.
                    while (code := _code(lambda: call(b"x", timeout=WAIT))) is None:  # noqa: B023
                        assert time.perf_counter() - begun < WAIT
                        time.sleep(0.001)
                    seconds.append(time.perf_counter() - begun)
                    assert code is grpc.StatusCode.UNAUTHENTICATED
    return seconds


class _Only:
    """One of the identities that a process has."""

    def __init__(self, source: X509Source, path: str) -> None:
        self._source = source
        self._path = path
        _svid_of(source, path, None)

    def snapshot(self) -> Any:
        snapshot = self._source.snapshot()
        return dataclasses.replace(snapshot, svids=tuple(s for s in snapshot.svids if s.spiffe_id.path == self._path))

    def subscribe(self, callback: Any) -> Any:
        return self._source.subscribe(callback)


def _svid_of(source: X509Source, path: str, before: X509Svid | None) -> X509Svid:
    """The identity of this path, as soon as there is one that is not the one from before."""
    arrived = threading.Event()
    unsubscribe = source.subscribe(lambda _: arrived.set())
    end = time.monotonic() + WAIT
    try:
        while True:
            arrived.clear()
            for svid in source.snapshot().svids:
                if svid.spiffe_id.path == path and svid is not before:
                    return svid
            if not arrived.wait(max(0.0, end - time.monotonic())):
                raise RuntimeError(f"{path} never came")
    finally:
        unsubscribe()
