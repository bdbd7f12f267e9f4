"""A certificate is believed when it leads to a CA that the admin has named, and its key has signed the enrollment.

The enrollment's body holds a challenge of this signer that is a minute old at most and made for this very CSR's key
(checked before), so the proof shows that the key is there now, and is good for nobody else's CSR.
"""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from inborn._internal.enrollment.x509pop import (
    KIND,
    MAX_CHAIN_LENGTH,
    NONCE_SIZE,
    check_key,
    fingerprint,
    verify_proof,
)
from inborn._internal.spiffe.spiffe_id import SpiffeId, TrustDomain
from inborn._internal.spiffe.x509_svid import load_certificate
from inborn._internal.wire.messages import parse_message
from inborn.errors import DeniedError, RequestError
from inborn_ca.model.records import Member, MemberKind
from inborn_ca.signer.commands.node_attestors.node_attestor import AttestedNode, ShownEvidence
from inborn_ca.signer.commands.node_attestors.x509pop.certificate_path import UntrustedNode, verify_path
from inborn_ca.signer.commands.node_attestors.x509pop.node_facts import selectors_of, values_of
from inborn_ca.signer.commands.node_attestors.x509pop.settings import X509PopSettings, read_settings
from inborn_ca.store.interface import Transaction
from inborn_proto import ca_pb2

__all__ = ["NotSetUp", "X509PopAttestor"]


class NotSetUp(DeniedError):
    """No admin has named a CA whose certificates let agents in."""


class X509PopAttestor:
    """The kind `x509pop`. Its evidence is an `X509PopEvidence`."""

    kind = KIND
    needs_challenge = True

    def __init__(self, trust_domain: TrustDomain) -> None:
        self._trust_domain = trust_domain

    def attest(self, evidence: ShownEvidence, *, now: dt.datetime, tx: Transaction) -> AttestedNode:
        """Raises `NotSetUp`, `UnusableKey`, `BadProof`, `UntrustedNode`, `UnusableName`."""
        settings = read_settings(tx)
        if settings is None:
            raise NotSetUp("this CA lets nobody in by x509pop", hint="an admin sets it up: inborn x509pop set")
        message = parse_message(ca_pb2.X509PopEvidence, evidence.octets, "evidence")
        if not 1 <= len(message.chain) <= MAX_CHAIN_LENGTH:
            raise RequestError(f"chain has {len(message.chain)} certificates, 1 to {MAX_CHAIN_LENGTH} are taken")
        if len(message.nonce) != NONCE_SIZE:
            raise RequestError(f"nonce has {len(message.nonce)} bytes, not {NONCE_SIZE}")
        chain = [load_certificate(der) for der in message.chain]
        try:
            return self._believe(chain, evidence, settings, now)
        except (ValueError, UnsupportedAlgorithm) as e:  # parts of a certificate are read when they are looked at
            raise UntrustedNode("a certificate of the chain has a part that cannot be read") from e

    def _believe(
        self, chain: list[x509.Certificate], evidence: ShownEvidence, settings: X509PopSettings, now: dt.datetime
    ) -> AttestedNode:
        leaf = chain[0]
        verify_proof(check_key(leaf.public_key()), evidence.body, evidence.proof)
        path = verify_path(chain, settings.authorities, now=now)
        actor = f"{KIND}:{fingerprint(leaf)}"
        try:
            spiffe_id = settings.template.render(values_of(leaf), self._trust_domain)
            selectors = selectors_of(path, self._trust_domain)
        except DeniedError as e:
            e.facts["actor"] = actor
            raise
        return AttestedNode(
            subject=fingerprint(leaf),
            actor=actor,
            member=MemberKind.AGENT,
            spiffe_id=spiffe_id,
            selectors=selectors,
            is_reattestable=True,
        )

    def enrolled(
        self, node: AttestedNode, spiffe_id: SpiffeId, key_hash: bytes, *, now: dt.datetime, tx: Transaction
    ) -> None:
        """Nothing is used up."""

    def shut_out(self, member: Member, *, now: dt.datetime, tx: Transaction) -> None:
        """The ban is by ID, and holds: the certificate is not ours to take back."""
