"""The front: the CA's network side. It parses what strangers send, and holds no key but its own certificate's.

Two gRPC servers (bootstrap and API) before one link to the signer. Everything that is decided by a signature or by the
ledger is decided in the signer; the front refuses early what is certain to be refused, and fans the feeds out. When
the link ends the front ends: whoever started the two starts them anew.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import grpc.aio

from inborn._internal.address import Address
from inborn._internal.host.log import get_logger
from inborn._internal.metrics.counting import Metrics
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.wire.access import CallerClass, CallNotAllowed, check
from inborn._internal.wire.messages import MAX_MESSAGE_SIZE
from inborn._internal.wire.signed_request import MAX_BODY_SIZE
from inborn.errors import DeniedError, InbornError, UnavailableError
from inborn_ca.front import authority_service, bootstrap_service
from inborn_ca.front.admission import Admission, TokenBucket
from inborn_ca.front.authority_service import AuthorityService
from inborn_ca.front.bootstrap_service import BootstrapService
from inborn_ca.front.caller import Caller, CallerReader, origin_of
from inborn_ca.front.counted_events import CALL_FINISHED, CALL_SECONDS, COUNTED_EVENTS
from inborn_ca.front.feed_streams import FeedHub, fetch_snapshot
from inborn_ca.front.front_identity import FrontIdentity
from inborn_ca.front.gauges import signer_gauges
from inborn_ca.front.known_domain import KnownDomain
from inborn_ca.front.port_taken import port_taken, try_to_bind
from inborn_ca.front.probe import probe
from inborn_ca.front.serving import Context, Observer, Port
from inborn_ca.link.link import Incoming, Link, dispatch
from inborn_ca.settings import FrontSettings
from inborn_ca.supervisor.child_start import WANTED_FILES
from inborn_proto import signer_pb2

if TYPE_CHECKING:
    from inborn._internal.metrics.metrics_port import MetricsPort
    from inborn_ca.front.crl_port import CrlPort

__all__ = ["Front"]

GRACE = 5.0  # seconds that open calls have to end when the front stops
BIND_TIME = 5.0  # seconds in which a port that is still taken may become free (a predecessor is going)
SWEEP_EVERY = 1.0  # seconds between looks for streams whose certificate has expired
DENIALS_BURST, DENIALS_A_SECOND = 100, 10.0  # reported to the signer; a flood must not become a flood of rows

_SIGNING = "/inborn.signer.v1.Signing/"
_PUBLISH = "/inborn.signer.v1.Fronting/Publish"
_DISCONNECT = "/inborn.signer.v1.Fronting/Disconnect"
_RENEW = "/inborn.signer.v1.Fronting/Renew"
_PROBE = "/inborn.signer.v1.Fronting/Probe"

# What the core would reset with a bare CANCELLED is let through to our own admission control instead.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.so_reuseport", 0),  # two fronts on one port would share its callers in silence
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),  # a dead connection is gone within 40 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),  # agents ask more often than gRPC's five minutes
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_metadata_size", 8 * 1024),
)
_API_OPTIONS: tuple[tuple[str, int], ...] = (
    *_OPTIONS,
    # An agent has one stream and one call under way; what a client sends beyond this is reset. Each stream may hold an
    # unfinished message of a mebibyte before more is known of its caller than that it has an SVID of the trust domain:
    # whoever has one can make the front large, and is not yet kept from it.
    ("grpc.max_concurrent_streams", 512),
    ("grpc.max_receive_message_length", MAX_BODY_SIZE + 64 * 1024),
    ("grpc.max_send_message_length", MAX_MESSAGE_SIZE + 64 * 1024),
    ("grpc.max_connection_age_ms", 6 * 3600 * 1000),  # a handshake every so often, also for who never leaves
    ("grpc.max_connection_age_grace_ms", 60_000),
)
# Strangers come here. gRPC takes in whole messages before anything of ours is asked: 2 MiB a connection at most.
_BOOTSTRAP_OPTIONS: tuple[tuple[str, int], ...] = (
    *_OPTIONS,
    ("grpc.max_concurrent_streams", 64),  # a joiner has one; what is sent beyond it at once is reset
    ("grpc.max_receive_message_length", 32 * 1024),  # bytes: a CSR may have 16 KiB
    ("grpc.max_connection_age_ms", 120_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
)


_MAX_JOINERS = 4096  # connections: each is done in 50 ms


def _connections(share: int, at_most: int) -> tuple[str, int]:
    """A port's part of the open files that the process may have: a flood of one must leave room for the other, and
    for accepting at all. What is beyond is hung up on."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else soft
    return "grpc.max_allowed_incoming_connections", max(16, min(at_most, files // share))


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Front(Observer):
    """One front. `start`, then `run` until it returns, with `stop` to make it return."""

    def __init__(self, link: Link, settings: FrontSettings, clock: Callable[[], dt.datetime] = utc_now) -> None:
        self._link = link
        self._settings = settings
        self._clock = clock
        self._stopping: asyncio.Event = asyncio.Event()
        self._metrics_port: MetricsPort | None = None
        if settings.metrics is not None:
            # prometheus_client and an HTTP server are loaded where somebody looks, and nothing is counted elsewhere.
            from inborn._internal.metrics.metrics_port import MetricsPort

            self._metrics_port = MetricsPort(COUNTED_EVENTS)
        self._metrics = self._metrics_port.metrics if self._metrics_port is not None else Metrics()
        self.admission = Admission()
        self._servers: list[grpc.aio.Server] = []
        self.ports: list[Port] = []
        self._crl_port: CrlPort | None = None
        self._denials = TokenBucket(burst=DENIALS_BURST, per_second=DENIALS_A_SECOND, now=time.monotonic())
        self._early: list[signer_pb2.Publication] = []
        self._hub: FeedHub | None = None
        self.identity: FrontIdentity | None = None
        self._domain: KnownDomain | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.log = get_logger("ca.front")

    @property
    def trust_domain(self) -> str:
        return self._domain.trust_domain.name if self._domain is not None else ""

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn the domain, get a certificate, open the ports. Raises `PortTaken` and what the signer raises."""
        attached = await self._link.call(_SIGNING + "Attach", self._attach_request(), signer_pb2.AttachResponse)
        bundle = X509Bundle.parse(TrustDomain(attached.trust_domain), list(attached.roots))
        domain = KnownDomain(bundle, attached.log_id)
        domain.restore(await fetch_snapshot(self._link))
        callers = CallerReader(bundle=lambda: domain.bundle, revocations=lambda: domain.revocations, clock=self._clock)
        hub = FeedHub(self._link, domain, callers)
        self._domain, self._hub = domain, hub
        for publication in self._early:
            hub.publish(publication)
        self._early.clear()
        identity = FrontIdentity(self._link, domain, self._clock)
        await identity.obtain()
        self.identity = identity
        await self._open_ports(domain, hub, identity, callers)
        self._spawn(identity.keep_fresh())
        self._spawn(self._sweep(hub))

    async def run(self) -> None:
        """Serve until `stop` is called or the link ends; then end in order."""
        waits = [asyncio.create_task(self._stopping.wait()), asyncio.create_task(self._link.wait_closed())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await self.close()

    def stop(self) -> None:
        self._stopping.set()

    async def close(self) -> None:
        """Refuse what is new, let what is open end, tell the streams, and close the ports."""
        closing = UnavailableError("the CA is stopping", hint="try again in a moment")
        for port in self.ports:
            port.close(closing)
        if self._hub is not None:
            self._hub.end_all(closing)
        if self._metrics_port is not None:
            await self._metrics_port.close()
        if self._crl_port is not None:
            await self._crl_port.close()
        # Who still waits for the signer then gets an error of ours, and not gRPC's CANCELLED at the end of the grace.
        last_call = asyncio.get_running_loop().call_later(GRACE * 0.8, self._link.close)
        await asyncio.gather(*(server.stop(GRACE) for server in self._servers))
        last_call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._link.close()

    async def _open_ports(
        self, domain: KnownDomain, hub: FeedHub, identity: FrontIdentity, callers: CallerReader
    ) -> None:
        api_address = f"{self._settings.advertise}:{self._settings.api.port}"
        if ":" in self._settings.advertise:
            api_address = str(Address(self._settings.advertise, self._settings.api.port))

        def anonymous(context: Context) -> Caller:
            return Caller(kind=CallerClass.ANONYMOUS, origin=origin_of(context.peer()))

        def certified(context: Context) -> Caller:
            return callers.read(context.auth_context(), context.peer())

        bootstrap_port = Port(authenticate=anonymous, admission=self.admission, observer=self)
        api_port = Port(
            authenticate=certified, admission=self.admission, observer=self, check_again=callers.check_again
        )
        self.ports = [bootstrap_port, api_port]
        enrollment = BootstrapService(self._link, domain, api_address)
        service = AuthorityService(self._link, hub, self._metrics)
        await self._serve(
            self._settings.bootstrap,
            bootstrap_port.handler(bootstrap_service.NAME, enrollment.unary),
            partial(identity.credentials, is_mutual=False),
            (*_BOOTSTRAP_OPTIONS, _connections(4, _MAX_JOINERS)),
            "--bootstrap-port",
        )
        await self._serve(
            self._settings.api,
            api_port.handler(authority_service.NAME, service.unary, service.streams, service.exchanges),
            partial(identity.credentials, is_mutual=True),
            (*_API_OPTIONS, _connections(2, WANTED_FILES)),
            "--api-port",
        )
        if self._metrics_port is not None and self._settings.metrics is not None:
            await self._metrics_port.open(self._settings.metrics, self._gauges)
        if self._settings.crl is not None:
            from inborn_ca.front.crl_port import CrlPort

            self._crl_port = CrlPort(domain)
            await self._crl_port.open(self._settings.crl, patience=BIND_TIME)

    async def _serve(
        self,
        address: Address,
        handler: grpc.GenericRpcHandler,
        credentials: Callable[[], grpc.ServerCredentials],
        options: Sequence[tuple[str, int]],
        port_option: str,
    ) -> None:
        deadline = time.monotonic() + BIND_TIME
        while True:
            server = grpc.aio.server(options=options)
            server.add_generic_rpc_handlers((handler,))
            try:
                try_to_bind(address)
                server.add_secure_port(str(address), credentials())  # anew for each try
            except (OSError, RuntimeError) as e:
                if time.monotonic() > deadline or getattr(e, "errno", errno.EADDRINUSE) != errno.EADDRINUSE:
                    raise port_taken(address, port_option, e) from e
                await asyncio.sleep(0.2)
                continue
            await server.start()
            self._servers.append(server)
            return

    def _attach_request(self) -> signer_pb2.AttachRequest:
        host, crl = self._settings.advertise, self._settings.crl
        return signer_pb2.AttachRequest(
            crl_address=str(Address(host or crl.host, crl.port)) if crl is not None else "",
            bootstrap_address=str(Address(host or self._settings.bootstrap.host, self._settings.bootstrap.port)),
            api_address=str(Address(host or self._settings.api.host, self._settings.api.port)),
        )

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except asyncio.CancelledError:
            raise
        except Exception as e:  # a part of the front is dead: better all of it is, and started anew
            self.log.exception("front.part_failed", error=e)
            self.stop()

    async def _sweep(self, hub: FeedHub) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            hub.sweep()
            for port in self.ports:
                port.sweep()

    # -- what the signer says ------------------------------------------------------------------------------------------

    def on_requests(self, requests: Sequence[Incoming]) -> None:
        """Take what the signer asks or tells, in its order."""
        for request in requests:
            try:
                self._take(request)
            except InbornError as e:
                if not request.is_answered:
                    request.fail(e)
                if request.is_notice and not isinstance(e, CallNotAllowed):
                    self.log.error("front.out_of_step", method=request.method, error=e.message)
                    self.stop()

    def _take(self, request: Incoming) -> None:
        check(request.method, CallerClass.SIGNER)
        if request.method == _PUBLISH:
            publication = request.parse(signer_pb2.Publication)
            if self._hub is None:
                self._early.append(publication)
            else:
                self._hub.publish(publication)
                if not publication.node and self.identity is not None:
                    self.identity.reconsider()
            request.reply(signer_pb2.Done())
        elif request.method == _DISCONNECT:
            if self._hub is not None:
                self._hub.disconnect(request.parse(signer_pb2.NodeFeedRequest).spiffe_id)
            request.reply(signer_pb2.Done())
        elif request.method == _RENEW:
            if self.identity is not None:
                self.identity.renew()
            request.reply(signer_pb2.Done())
        else:
            self._spawn(dispatch(request, {_PROBE: self._probe}))

    async def _probe(self, _: object) -> signer_pb2.ProbeResponse:
        if self.identity is None or self._domain is None:
            raise UnavailableError("front is starting")
        ports = {"bootstrap": self._settings.bootstrap, "api": self._settings.api}
        return await probe(ports, self.identity.svid, self._domain.bundle.pem())

    # -- what is seen --------------------------------------------------------------------------------------------------

    def finished(self, method: str, seconds: float, error: InbornError | None) -> None:
        self._metrics.count(CALL_FINISHED, method=method, outcome=error.kind if error is not None else "ok")
        self._metrics.count(CALL_SECONDS, seconds, method=method)

    def denied(self, method: str, caller: Caller, error: DeniedError) -> None:
        self.log.warning("call.denied", method=method, caller=caller.spiffe_id, origin=caller.origin, error=error)
        if self._denials.take(time.monotonic()):
            report = signer_pb2.DenialReport(
                spiffe_id=str(caller.spiffe_id or ""),
                method=method,
                kind=error.kind,
                message=error.message,
                origin=caller.origin,
            )
            self._link.notify(_SIGNING + "ReportDenial", report)

    async def _gauges(self) -> dict[str, tuple[str, float]]:
        """The front's own, and the signer's if it answers."""
        gauges = self._own_gauges()
        try:
            m = await self._link.call(_SIGNING + "Measure", signer_pb2.MeasureRequest(), signer_pb2.Measures, timeout=3)
        except InbornError as e:
            self.log.warning("metrics.signer_silent", error=e)
            return gauges
        return gauges | signer_gauges(m)

    def _own_gauges(self) -> dict[str, tuple[str, float]]:
        if self._hub is None or self._domain is None or self.identity is None:
            return {}
        streams = self._hub.streams()
        revision = self._domain.revision
        lags = [revision - stream.acked_revision for stream in streams if stream.acked_revision]
        expires = self.identity.svid.facts.not_after.timestamp()
        return {
            "inborn_ca_calls_open": ("Calls that wait for the signer.", self.admission.open),
            "inborn_ca_streams": ("Agents and daemons that listen.", len(streams)),
            "inborn_ca_streams_behind": ("Of them, those that have not applied the newest revision.", _positive(lags)),
            "inborn_ca_lag_revisions": ("Revisions that the slowest of them has not applied.", max(lags, default=0)),
            "inborn_ca_resyncs_total": ("Streams that did not read in time.", self._hub.resyncs),
            "inborn_ca_domain_revision": ("Revision of the domain feed.", revision),
            "inborn_ca_revocation_seq": ("Length of the revocation log.", self._domain.revocations.seq),
            "inborn_ca_front_certificate_expires": ("End of the front's certificate, seconds since 1970.", expires),
        }


def _positive(lags: Sequence[int]) -> int:
    return sum(1 for lag in lags if lag > 0)
