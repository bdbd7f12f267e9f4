"""What an admin may ask of the signer, on its UNIX socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from google.protobuf.message import Message

from inborn._internal.wire import admin_methods
from inborn_ca.signer.api.admin_table import AdminTable
from inborn_ca.signer.api.calls import Call
from inborn_ca.signer.api.front_calls import FrontCalls
from inborn_ca.signer.commands.authority_revocation import AuthorityRevoker
from inborn_ca.signer.commands.backups import Backups
from inborn_ca.signer.commands.entries import Entries
from inborn_ca.signer.commands.expansion import Expander
from inborn_ca.signer.commands.findings import Findings
from inborn_ca.signer.commands.health import Health
from inborn_ca.signer.commands.node_attestors.join_token.tokens import Tokens
from inborn_ca.signer.commands.node_attestors.x509pop.settings import X509PopCommands
from inborn_ca.signer.commands.posture_policies import PosturePolicies
from inborn_ca.signer.commands.queries import Ledger
from inborn_ca.signer.commands.revocations import Revocations
from inborn_ca.signer.commands.status import Status
from inborn_ca.signer.propagation import Propagation
from inborn_ca.signer.queue import Command, Queue
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader
from inborn_proto import admin_pb2

__all__ = ["AdminCalls"]

M = TypeVar("M", bound=Message)


class AdminCalls:
    """The admin's table of calls. Long reads have a thread and a handle of their own, one at a time."""

    def __init__(
        self,
        state: SignerState,
        queue: Queue,
        *,
        reader: Reader,
        front: FrontCalls,
        entries: Entries,
        health: Health,
        status: Status,
        propagation: Propagation,
        expander: Expander,
        revoker: AuthorityRevoker,
    ) -> None:
        self._state = state
        self._queue = queue
        self._reader = reader
        self._slow_reader = state.store.reader()
        self._slow = threading.Lock()
        self._front = front
        self._entries = entries
        self._tokens = Tokens(state)
        self._x509pop = X509PopCommands(state)
        self._posture_policies = PosturePolicies(state)
        self._revocations = Revocations(state)
        self._findings = Findings(state)
        self._ledger = Ledger(state)
        self._backups = Backups(state)
        self._health = health
        self._status = status
        self._propagation = propagation
        self._expander = expander
        self._revoker = revoker
        self._audited = asyncio.Event()

    def table(self) -> Mapping[str, Call]:
        """Raises `InternalError` if a method that is declared has no answer here."""
        tokens, entries, revocations, ledger, reader = (
            self._tokens,
            self._entries,
            self._revocations,
            self._ledger,
            self._reader,
        )
        policies = self._posture_policies
        table = AdminTable()
        table.queued(admin_methods.CREATE_TOKEN, lambda m, who: tokens.create(m, who, self._front.bootstrap_address))
        table.later(admin_methods.LIST_TOKENS, lambda m, _: self._in_thread(lambda: tokens.list(self._slow_reader, m)))
        table.queued(admin_methods.REVOKE_TOKEN, tokens.revoke)
        table.queued(admin_methods.SET_X509POP, self._x509pop.set)
        table.direct(admin_methods.GET_X509POP, lambda m, _: self._x509pop.get(reader))
        table.queued(admin_methods.REMOVE_X509POP, self._x509pop.remove)
        table.queued(admin_methods.CREATE_ENTRY, entries.create)
        table.direct(admin_methods.LIST_ENTRIES, lambda m, _: entries.list(reader, m))
        table.direct(admin_methods.GET_ENTRY, lambda m, _: entries.get(reader, m))
        table.queued(admin_methods.UPDATE_ENTRY, entries.update)
        table.queued(admin_methods.DELETE_ENTRY, entries.delete)
        table.queued(admin_methods.CREATE_POSTURE_POLICY, policies.create)
        table.direct(admin_methods.LIST_POSTURE_POLICIES, lambda m, _: policies.list())
        table.queued(admin_methods.DELETE_POSTURE_POLICY, policies.delete)
        table.later(admin_methods.LIST_CERTIFICATES, lambda m, _: self._certificates(m))
        table.direct(admin_methods.GET_CERTIFICATE, lambda m, _: ledger.certificate(reader, m, self._state.revocations))
        table.later(admin_methods.LIST_AGENTS, lambda m, _: self._agents())
        table.queued(admin_methods.BAN_AGENT, revocations.ban)
        table.queued(admin_methods.REVOKE, revocations.revoke)
        table.later(admin_methods.GET_EXPANSION, lambda m, _: self._expander.wait(m))
        table.later(admin_methods.GET_AUTHORITY_REVOCATION, lambda m, _: self._revoker.wait(m))
        table.direct(admin_methods.LIST_FINDINGS, lambda m, _: self._findings.list(reader, m))
        table.queued(admin_methods.ACCEPT_FINDING, self._findings.accept)
        table.queued(admin_methods.UNBLOCK, revocations.unblock)
        table.direct(admin_methods.LIST_REVOCATIONS, lambda m, _: ledger.revocations(reader, m))
        table.later(admin_methods.GET_PROPAGATION, lambda m, _: self._propagation.wait(m.revocation_seq, m.wait_ms))
        table.direct(admin_methods.GET_BUNDLE, lambda m, _: ledger.bundle())
        table.later(admin_methods.CHECK_HEALTH, lambda m, _: self._health.check())
        table.direct(admin_methods.GET_STATUS, lambda m, _: self._status.get(reader))
        table.later(admin_methods.LIST_AUDIT, lambda m, _: self._audit(m))
        table.direct(admin_methods.LIST_ALARMS, lambda m, _: ledger.alarms(reader, m))
        table.queued(admin_methods.ACKNOWLEDGE_ALARM, ledger.acknowledge)
        table.later(admin_methods.BACKUP, self._backup)
        return table.complete()

    def audited(self) -> None:
        """A row was added: whoever follows the trail is told."""
        self._audited.set()

    async def _in_thread(self, read: Callable[[], M]) -> M:
        def locked() -> M:
            with self._slow:
                return read()

        return await asyncio.to_thread(locked)

    def _certificates(self, m: admin_pb2.ListCertificatesRequest) -> Awaitable[admin_pb2.ListCertificatesResponse]:
        ledger, reader = self._ledger, self._slow_reader
        return self._in_thread(lambda: ledger.certificates(reader, m, ledger.all_revocations(reader)))

    def _agents(self) -> Awaitable[admin_pb2.ListAgentsResponse]:
        return self._in_thread(lambda: self._ledger.agents(self._slow_reader, self._propagation))

    async def _audit(self, m: admin_pb2.ListAuditRequest) -> admin_pb2.ListAuditResponse:
        deadline = asyncio.get_running_loop().time() + min(max(m.wait_ms, 0) / 1000, 30.0)
        while True:
            self._audited.clear()
            response = await self._in_thread(lambda: self._ledger.audit(self._slow_reader, m))
            left = deadline - asyncio.get_running_loop().time()
            if response.rows or left <= 0:
                return response
            try:
                async with asyncio.timeout(left):
                    await self._audited.wait()
            except TimeoutError:
                return response

    async def _backup(self, m: admin_pb2.BackupRequest, actor: str) -> admin_pb2.BackupResponse:
        path = self._backups.check(m)
        response = await asyncio.to_thread(self._backups.write, path, m.passphrase)
        command: Command = self._backups.record(response, actor)
        result: admin_pb2.BackupResponse = await self._queue.run(command)
        return result
