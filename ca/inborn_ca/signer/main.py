"""The signer: the process that holds the keys and is the only writer of the database. It has no network.

`python -m inborn_ca.signer` is started by the supervisor with one end of a socketpair whose other end the front
has. Admins on the same host come over a UNIX socket in a directory that only root and the CA's user can enter. When the
link to the front ends, the signer ends too: the supervisor starts both anew.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from inborn._internal.host.files import make_directory, private_directory
from inborn._internal.host.log import configure, get_logger
from inborn._internal.process.peer_credentials import is_admin_uid, peer_credentials
from inborn._internal.settings.child_entry import run_with_settings
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.wire.access import CallerClass
from inborn.errors import PreconditionError
from inborn_ca.authorities.key_store import KeyStore
from inborn_ca.certificates.profile import Lifetimes
from inborn_ca.link.link import Incoming, Link
from inborn_ca.settings import SignerStart
from inborn_ca.signer.api.admin_calls import AdminCalls
from inborn_ca.signer.api.calls import Calls
from inborn_ca.signer.api.front_calls import FrontCalls
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands.authorities import Authorities
from inborn_ca.signer.commands.authority_revocation import AuthorityRevoker, Patience
from inborn_ca.signer.commands.entries import Entries
from inborn_ca.signer.commands.expansion import Expander
from inborn_ca.signer.commands.health import Health
from inborn_ca.signer.commands.status import Status
from inborn_ca.signer.feeds import Feeds
from inborn_ca.signer.maintenance import Maintenance
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.queue import Queue
from inborn_ca.signer.state import Clock, SignerState
from inborn_ca.store.opening import open_store
from inborn_ca.supervisor.child_start import on_termination, report_ready, run_loop, socket_from_fd
from inborn_proto import feed_pb2, signer_pb2

__all__ = ["Signer", "main", "open_state"]

_log = get_logger("ca.signer")

_PUBLISH = "/inborn.signer.v1.Fronting/Publish"
_DISCONNECT = "/inborn.signer.v1.Fronting/Disconnect"
_RENEW = "/inborn.signer.v1.Fronting/Renew"
_PROBE = "/inborn.signer.v1.Fronting/Probe"


def open_state(directory: Path, *, trust_domain: str, lifetimes: Lifetimes, clock: Clock) -> SignerState:
    """Open the store and keys of a CA, or lay them out at the first start.

    Raises `PreconditionError` when the directory belongs to another trust domain than the one that is asked for, and
    when there are keys and an empty database: a CA that has lost its ledger and its revocations must not begin anew.
    """
    make_directory(directory, mode=0o700)
    store = open_store(directory, now=clock())
    keys = KeyStore(directory / "keys")
    reader = store.reader()
    kept = reader.meta.get("trust_domain")
    if kept is None:
        if keys.list():  # the database has its name before the first key is made
            store.close()
            raise PreconditionError(
                f"database {store.location} is empty, and {directory / 'keys'} has keys of a CA",
                hint="put the database back, or restore a backup into another directory: inborn ca restore",
            )
        if not trust_domain:
            raise PreconditionError("a first start needs the name of the trust domain", hint="--trust-domain NAME")
        kept = TrustDomain(trust_domain).name
        with store.transaction() as tx:
            tx.meta.set("trust_domain", kept)
            ca_id = os.urandom(4).hex()
            tx.meta.set("ca_id", ca_id)  # whose directory this is; a CA that joins it is registered and not named here
            tx.authorities.add_ca(ca_id, clock())
    elif trust_domain and trust_domain != kept:
        raise PreconditionError(
            f"this CA's trust domain is {kept}, not {trust_domain}", hint="leave --trust-domain out"
        )
    return SignerState(
        store=store,
        keys=keys,
        clock=clock,
        lifetimes=lifetimes,
        trust_domain=TrustDomain(kept),
        ca_id=reader.meta.get("ca_id") or "",
        log_id=bytes.fromhex(reader.meta.get("log_id") or ""),
    )


class Signer:
    """Composition of one signer. `start` makes it ready, `close` ends it in order."""

    def __init__(
        self, state: SignerState, *, min_ttl: dt.timedelta, data_dir: str = "", patience: Patience | None = None
    ) -> None:
        self.state = state
        self.queue = Queue(state)
        reader = state.store.reader()
        self.propagation = Propagation(state.clock)
        self.feeds = Feeds(state, self._publish)
        self.authorities = Authorities(state)
        self.maintenance = Maintenance(state, self.queue, self.feeds, self.authorities, self.propagation, reader)
        self.front_calls = FrontCalls(state, reader, self.feeds, self.propagation)
        self.expander = Expander(state, self.queue, reader)
        self.revoker = AuthorityRevoker(
            state,
            self.queue,
            reader,
            self.authorities,
            self.feeds,
            self.propagation,
            front_authority=lambda: self.front_calls.authority,
            renew_front=self._renew_front,
            patience=patience,
        )
        status = Status(
            state,
            self.queue,
            addresses=lambda: (self.front_calls.bootstrap_address, self.front_calls.api_address),
            connected=lambda: self.feeds.connected,
        )
        status.data_dir = data_dir
        status.crl_address = lambda: self.front_calls.crl_address
        self.front_calls.measure = lambda: status.measure(reader, self.propagation.slowest(state.revocations.seq))
        self.admin_calls = AdminCalls(
            state,
            self.queue,
            reader=reader,
            front=self.front_calls,
            entries=Entries(state, min_ttl=min_ttl, ca_names=self.front_calls.dns_names),
            health=Health(state, self.queue, self._probe),
            status=status,
            propagation=self.propagation,
            expander=self.expander,
            revoker=self.revoker,
        )
        self._front_table = Calls(self.queue, self.front_calls.table())
        self._admin_table = Calls(self.queue, self.admin_calls.table())
        self._front: Link | None = None
        self._admins: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        state.on_committed.append(self._committed)

    async def start(self, front: socket.socket, admin_socket: Path) -> Link:
        """Make what is missing (root, authority, log key), attach the front, and listen for admins."""
        if not self.state.roots:
            await self.queue.run(self.authorities.create())
        for command in self.authorities.due(heard_by_all=lambda revision: True):
            await self.queue.run(command)
        await self.queue.run(self.feeds.certify_log_key)
        self._front = await Link.open(
            front, on_requests=self._from_front, on_closed=self._front_closed, pauses_reading=True, name="the front"
        )
        await self._listen(admin_socket)
        self.expander.start()
        self.revoker.start()
        self._task = asyncio.get_running_loop().create_task(self.maintenance.run())
        return self._front

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.expander.close()
        await self.revoker.close()
        if self._server is not None:
            self._server.close()
        for link in list(self._admins):
            link.close()
        if self._front is not None:
            self._front.close()
        self.state.store.close()

    # -- the front ---------------------------------------------------------------------------------------------------

    def _from_front(self, requests: Sequence[Incoming]) -> None:
        self._front_table.take(requests, caller=CallerClass.FRONT, actor="front")

    def _front_closed(self, link: Link) -> None:
        self.front_calls.front_gone()

    def _publish(self, node: str, message: feed_pb2.FeedMessage) -> None:
        if self._front is not None:
            self._front.notify(_PUBLISH, signer_pb2.Publication(node=node, message=message))

    def _renew_front(self) -> None:
        if self._front is not None:
            self._front.notify(_RENEW, signer_pb2.RenewFrontRequest())

    async def _probe(self) -> signer_pb2.ProbeResponse:
        if self._front is None:
            raise PreconditionError("no front is attached")
        return await self._front.call(_PROBE, signer_pb2.ProbeRequest(), signer_pb2.ProbeResponse, timeout=5)

    def _committed(self, changes: Changes) -> None:
        self.feeds.tell(changes, self.front_calls.node_state)
        for spiffe_id in changes.disconnect:
            if self._front is not None:
                self._front.notify(_DISCONNECT, signer_pb2.NodeFeedRequest(spiffe_id=str(spiffe_id)))
        self.maintenance.changed(changes)
        if changes.expanding:
            self.expander.start()
        if changes.revoking:
            self.revoker.start()
        self.admin_calls.audited()

    # -- admins ------------------------------------------------------------------------------------------------------

    async def _listen(self, path: Path) -> None:
        private_directory(path.parent)
        with suppress(FileNotFoundError):
            path.unlink()  # the data directory is locked: nobody else listens there
        self._server = await asyncio.get_running_loop().create_unix_server(self._admin_link, path)
        path.chmod(0o600)

    def _admin_link(self) -> Link:
        admin = _Admin(self._admin_table, self._admins)
        return Link(
            on_requests=admin.requests,
            on_connected=admin.connected,
            on_closed=self._admins.discard,
            pauses_reading=True,
            max_incoming=64,  # an admin's command asks one thing at a time; a script a few
            limit=1024 * 1024,
            name="an admin",
        )


class _Admin:
    """One connection on the UNIX socket: who is on the other end, by the kernel's word."""

    def __init__(self, calls: Calls, links: set[Link]) -> None:
        self._calls = calls
        self._links = links
        self._caller = CallerClass.LOCAL_OTHER
        self._actor = ""

    def connected(self, link: Link) -> None:
        uid = peer_credentials(link.socket).uid
        if is_admin_uid(uid):
            self._caller = CallerClass.LOCAL_ADMIN
        self._actor = f"uid:{uid}"
        self._links.add(link)

    def requests(self, requests: Sequence[Incoming]) -> None:
        self._calls.take(requests, caller=self._caller, actor=self._actor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the process."""
    return run_with_settings(sys.argv[1:] if arguments is None else arguments, SignerStart, _start)


def _start(start: SignerStart) -> int:
    configure(start.settings.log_level)
    return run_loop(_run(start))


async def _run(start: SignerStart) -> int:
    settings = start.settings
    directory, min_ttl = settings.data_dir / "ca", settings.min_ttl
    lifetimes = Lifetimes(workload_min=min(min_ttl, Lifetimes().workload_min))
    state = open_state(
        directory, trust_domain=settings.trust_domain, lifetimes=lifetimes, clock=lambda: dt.datetime.now(dt.UTC)
    )
    signer = Signer(state, min_ttl=min_ttl, data_dir=str(settings.data_dir))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    on_termination(stop.set)
    front = await signer.start(socket_from_fd(start.front_fd), directory / "admin" / "signer.sock")
    report_ready(start.ready_fd, {"trust_domain": state.trust_domain.name})
    _log.event("signer.ready", trust_domain=state.trust_domain, pid=os.getpid())
    ended = loop.create_task(front.wait_closed())
    stopped = loop.create_task(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    _log.event("signer.stopping", reason="told to" if stop.is_set() else "the front has gone")
    await signer.close()
    return 0
