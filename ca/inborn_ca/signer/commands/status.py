"""What runs, since when, and what runs out when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.version import VERSION
from inborn_ca.authorities.authority_life import activate_at, prepare_at
from inborn_ca.model.records import MemberKind
from inborn_ca.signer.commands.queries import alarm_message
from inborn_ca.signer.queue import Queue
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Reader
from inborn_proto import admin_pb2, signer_pb2

__all__ = ["Status"]


class Status:
    """`inborn status`, the CA's part."""

    def __init__(
        self,
        state: SignerState,
        queue: Queue,
        *,
        addresses: Callable[[], tuple[str, str]],
        connected: Callable[[], list[str]],
    ) -> None:
        self._state = state
        self._queue = queue
        self._addresses = addresses
        self._connected = connected
        self.data_dir = ""
        self.crl_address: Callable[[], str] = lambda: ""
        """Where the front serves CRLs; empty: nowhere."""

    def measure(self, reader: Reader, slowest: int) -> signer_pb2.Measures:
        """The gauges that a monitor wants to see."""
        state = self._state
        crls = [a.crl_next_update.timestamp() for a in state.authorities if a.crl_next_update is not None]
        active = [a for a in state.own_authorities if a.state is AuthorityState.ACTIVE]
        return signer_pb2.Measures(
            open_alarms=reader.audit.count_alarms(),
            certificates_issued=state.issued_count,
            oldest_revocation_seq=slowest,
            root_expires=min((r.certificate.not_valid_after_utc.timestamp() for r in state.roots), default=0.0),
            issuing_expires=min((a.certificate.not_valid_after_utc.timestamp() for a in active), default=0.0),
            crl_expires=min(crls, default=0.0),
            groups=self._queue.groups,
            jobs=self._queue.jobs,
            waiting=len(self._queue),
            database_bytes=state.store.size(),
        )

    def get(self, reader: Reader) -> admin_pb2.StatusResponse:
        bootstrap, api = self._addresses()
        agents = [member for member in reader.members.all() if member.kind is MemberKind.AGENT]
        connected = set(self._connected())  # daemons listen as well
        response = admin_pb2.StatusResponse(
            trust_domain=self._state.trust_domain.name,
            log_id=self._state.log_id.hex(),
            bootstrap_address=bootstrap,
            api_address=api,
            crl_address=self.crl_address(),
            agents_connected=sum(str(member.spiffe_id) in connected for member in agents),
            agents=len(agents),
            entries=len(self._state.entries),
            certificates_issued=self._state.issued_count,
            revocation_seq=self._state.revocations.seq,
            alarms=[alarm_message(alarm) for alarm in reader.audit.alarms()],
            data_dir=self.data_dir,
            version=VERSION,
            write_problem=self._queue.write_problem,
        )
        response.started_at.FromDatetime(self._state.started_at)
        for authority in self._state.authorities:
            is_root = authority.state is AuthorityState.ROOT
            row = response.authorities.add(
                id=authority.key_id.hex(), kind="root" if is_root else "issuing", state=str(authority.state)
            )
            row.not_after.FromDatetime(authority.certificate.not_valid_after_utc)
            if authority.crl_next_update is not None:
                row.crl_next_update.FromDatetime(authority.crl_next_update)
            if authority.state is AuthorityState.ACTIVE:
                row.prepare_at.FromDatetime(_utc(prepare_at(authority, self._state.lifetimes.longest_svid)))
                row.activate_at.FromDatetime(_utc(activate_at(authority, self._state.lifetimes.longest_svid)))
        return response


def _utc(at: dt.datetime) -> dt.datetime:
    return at.astimezone(dt.UTC)
