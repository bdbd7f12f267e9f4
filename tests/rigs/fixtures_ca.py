"""A whole signer without its process: real store, real keys, real queue; only the clock is a fake."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.enrollment.join_token import JoinToken, parse_join_token
from inborn._internal.enrollment.proof_context import enroll_context
from inborn._internal.revocation.revocation_set import RevocationKind
from inborn._internal.spiffe.x509_svid import CertificateFacts, load_certificate, read_certificate, serial_octets
from inborn._internal.wire.signed_request import REQUEST_CONTEXT, sign_octets
from inborn.errors import InbornError
from inborn_ca.certificates.profile import Lifetimes
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.authorities import Authorities
from inborn_ca.signer.commands.enrollment import RENEW_METHOD, Enrollment
from inborn_ca.signer.commands.entries import Entries
from inborn_ca.signer.commands.issuing import ISSUE_METHOD, Issuing
from inborn_ca.signer.commands.node_attestors.join_token.tokens import Tokens
from inborn_ca.signer.commands.node_attestors.x509pop.settings import X509PopCommands
from inborn_ca.signer.commands.revocation_log import append_revocation
from inborn_ca.signer.commands.revocations import Revocations
from inborn_ca.signer.feeds import Feeds
from inborn_ca.signer.main import open_state
from inborn_ca.signer.queue import Command, Finish, Job, Queue, Refusal
from inborn_ca.signer.state import SignerState
from inborn_ca.store.interface import Transaction
from inborn_proto import admin_pb2, ca_pb2, feed_pb2, signed_pb2, signer_pb2
from tests.rigs.machine_ca import MachineCertificate, challenge_request, x509pop_request

ADMIN = "uid:0"
START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class FakeClock:
    def __init__(self, now: dt.datetime = START) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += dt.timedelta(**by)


def make_csr(key: Any, *extensions: x509.ExtensionType) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@dataclass
class Holder:
    """An agent or a daemon as the CA sees it: a key, a chain and a number that rises."""

    key: ec.EllipticCurvePrivateKey
    response: ca_pb2.EnrollResponse
    number: int = 0

    @property
    def leaf(self) -> x509.Certificate:
        return load_certificate(self.response.chain[0])

    @property
    def facts(self) -> CertificateFacts:
        return read_certificate(self.leaf)

    @property
    def spiffe_id(self) -> str:
        return self.response.spiffe_id

    def sign(self, method: str, payload: bytes, /, **changed: Any) -> signed_pb2.SignedRequest:
        self.number += 1
        fields: dict[str, Any] = {
            "trust_domain": self.facts.spiffe_id.trust_domain.name,
            "method": method,
            "log_id": self.response.log_id,
            "number": self.number,
            "serial": serial_octets(self.leaf.serial_number),
            "payload": payload,
        }
        fields.update(changed)
        body = signed_pb2.SignedBody(**fields).SerializeToString()
        return signed_pb2.SignedRequest(body=body, signature=sign_octets(self.key, REQUEST_CONTEXT, body))


@dataclass
class CaBench:
    """The signer's parts and short ways to use them."""

    state: SignerState
    clock: FakeClock
    directory: Path
    published: list[tuple[str, feed_pb2.FeedMessage]] = field(default_factory=list)
    let_in: int = 0
    """How many certificates of agents a test expects: attacks count them in the end."""

    def __post_init__(self) -> None:
        self.queue = Queue(self.state)
        self.authorities = Authorities(self.state)
        self.feeds = Feeds(self.state, lambda node, message: self.published.append((node, message)))
        self.enrollment = Enrollment(self.state, monotonic=lambda: self.clock().timestamp())
        self.x509pop = X509PopCommands(self.state)
        self.issuing = Issuing(self.state)
        self.revocations = Revocations(self.state)
        self.tokens = Tokens(self.state)
        self.entries = Entries(self.state, min_ttl=self.state.lifetimes.workload_min)
        self.reader = self.state.store.reader()
        self.state.on_committed.append(lambda changes: self.feeds.tell(changes, self._node_state))
        if not self.state.roots:
            self.run(self.authorities.create())
        self.run_due()
        self.run(self.feeds.certify_log_key)

    def _node_state(self, node: str) -> Any:
        from inborn._internal.spiffe.spiffe_id import parse_spiffe_id

        return self.reader.members.get(parse_spiffe_id(node)), self.reader.entries.all()

    def run_due(self) -> None:
        for command in self.authorities.due(heard_by_all=lambda revision: True):
            self.run(command)

    def job(self, command: Command, into: list[Any]) -> Job:
        refusal: Refusal = audit.denial(self.clock(), "test", origin="test")
        return Job(command=command, answer=into.append, fail=into.append, refusal=refusal)

    def run(self, command: Command) -> Any:
        """Run one command as a group of its own; raise its error."""
        return self.group(command)[0]

    def group(self, *commands: Command, raising: bool = True) -> list[Any]:
        """Run commands as one group; their results in order, errors raised or among them."""
        slots: list[list[Any]] = [[] for _ in commands]
        self.queue.process([self.job(c, slot) for c, slot in zip(commands, slots, strict=True)])
        results = [slot[0] for slot in slots]
        for result in results:
            if raising and isinstance(result, InbornError):
                raise result
        return results

    def create_token(self, **fields: Any) -> JoinToken:
        response = self.run(self.tokens.create(admin_pb2.CreateTokenRequest(**fields), ADMIN, "localhost:1"))
        return parse_join_token(response.token)

    def enroll_request(self, token: JoinToken, key: Any, **changed: Any) -> signer_pb2.ForwardedEnroll:
        fields: dict[str, Any] = {
            "trust_domain": token.trust_domain.name,
            "kind": "join_token",
            "evidence": token.id,
            "csr": make_csr(key),
        }
        fields.update(changed)
        body = ca_pb2.EnrollBody(**fields).SerializeToString()
        proof = sign_octets(token.private_key, enroll_context("join_token"), body)
        return signer_pb2.ForwardedEnroll(request=ca_pb2.EnrollRequest(body=body, proof=proof), origin="192.0.2.1:1")

    def enroll(self, token: JoinToken | None = None, **fields: Any) -> Holder:
        token = token or self.create_token(**fields)
        key = ec.generate_private_key(ec.SECP256R1())
        return Holder(key=key, response=self.run(self.enrollment.enroll(self.enroll_request(token, key))))

    def take_certificates(self, *authorities: bytes, path_template: str = "") -> admin_pb2.X509Pop:
        """Let agents in that have a certificate of these CAs (PEM)."""
        request = admin_pb2.SetX509PopRequest(ca_bundle=b"".join(authorities), path_template=path_template)
        answer: admin_pb2.X509Pop = self.run(self.x509pop.set(request, ADMIN))
        return answer

    def challenge(self, csr_key: Any) -> bytes:
        challenge: bytes = self.enrollment.challenge(challenge_request(csr_key)).challenge
        return challenge

    def enroll_by(self, machine: MachineCertificate, key: Any = None, **changed: Any) -> Holder:
        """An honest machine's enrollment, or one with something changed in it."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        return self.send(x509pop_request(machine, key, self.challenge(key), **changed), key)

    def send(self, request: ca_pb2.EnrollRequest, key: Any) -> Holder:
        forwarded = signer_pb2.ForwardedEnroll(request=request, origin="192.0.2.1:1")
        return Holder(key=key, response=self.run(self.enrollment.enroll(forwarded)))

    def renew(self, holder: Holder, key: Any = None, **changed: Any) -> Holder:
        key = key or ec.generate_private_key(ec.SECP256R1())
        payload = ca_pb2.RenewRequest(csr=make_csr(key)).SerializeToString()
        signed = holder.sign(RENEW_METHOD, payload, **changed)
        response = self.run(self.enrollment.renew(signer_pb2.ForwardedRequest(request=signed, origin="192.0.2.1:1")))
        return Holder(key=key, response=response)

    def create_entry(self, path: str = "/web", **fields: Any) -> admin_pb2.Entry:
        fields = {"selectors": ["unix:uid:1000"], "node": "any", "ttl_seconds": 300} | fields
        fields.setdefault("spiffe_id", f"{self.state.trust_domain.id}{path}")
        response = self.run(self.entries.create(admin_pb2.CreateEntryRequest(**fields), ADMIN))
        entry: admin_pb2.Entry = response.entry
        return entry

    def issue_command(self, agent: Holder, *items: tuple[str, Any, list[str]], **changed: Any) -> Callable[..., Any]:
        request = ca_pb2.IssueRequest(
            items=[ca_pb2.IssueItem(entry_id=e, csr=make_csr(k), selectors=s) for e, k, s in items]
        )
        signed = agent.sign(ISSUE_METHOD, request.SerializeToString(), **changed)
        return self.issuing.issue(signer_pb2.ForwardedRequest(request=signed, origin="192.0.2.1:1"))

    def issue(
        self, agent: Holder, entry_id: str, selectors: list[str] | None = None, key: Any = None
    ) -> x509.Certificate:
        """One SVID; raises the item's error."""
        from inborn._internal.wire.messages import error_from_message

        key = key or ec.generate_private_key(ec.SECP256R1())
        response = self.run(self.issue_command(agent, (entry_id, key, selectors or ["unix:uid:1000"])))
        result = response.results[0]
        if result.HasField("error"):
            raise error_from_message(result.error)
        return load_certificate(result.leaf)

    def revoke(self, **fields: Any) -> admin_pb2.RevokeResponse:
        response: admin_pb2.RevokeResponse = self.run(self.revocations.revoke(admin_pb2.RevokeRequest(**fields), ADMIN))
        return response

    def unblock(self, target: str) -> admin_pb2.UnblockResponse:
        response: admin_pb2.UnblockResponse = self.run(
            self.revocations.unblock(admin_pb2.UnblockRequest(target=target), ADMIN)
        )
        return response

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        return self.state.revocations.find(read_certificate(certificate)) is not None


def open_bench(directory: Path, clock: FakeClock, **lifetimes: dt.timedelta) -> CaBench:
    state = open_state(directory, trust_domain="example.org", lifetimes=Lifetimes(**lifetimes), clock=clock)
    return CaBench(state=state, clock=clock, directory=directory)


def revoke_many(ca: CaBench, kind: RevocationKind, count: int) -> None:
    """So many rules for serials or keys that nobody has, in one transaction."""
    authority = ca.state.active.key_id
    how: dict[str, Any] = {"reason": 0, "blocks": False, "actor": "test", "audited": False}

    def command(tx: Transaction, changes: Changes) -> Finish:
        for _ in range(count):
            value = b"\x01" + os.urandom(18) if kind is RevocationKind.SERIAL else os.urandom(32)
            cut_offs = {authority: value} if kind is RevocationKind.SERIAL else None
            append_revocation(ca.state, tx, changes, kind, value, cut_offs=cut_offs, **how)
        return lambda: None

    ca.run(command)


@pytest.fixture
def ca_bench(tmp_path: Path) -> Iterator[CaBench]:
    bench = open_bench(tmp_path / "ca", FakeClock())
    yield bench
    bench.state.store.close()
