"""Signed requests for certificates, as an agent makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.wire.signed_request import REQUEST_CONTEXT, sign_octets
from inborn_member.enrolled import make_csr
from inborn_proto import ca_pb2, signed_pb2

__all__ = ["ISSUE", "Holder"]

ISSUE = "/inborn.v1.Authority/Issue"


@dataclass(slots=True)
class Holder:
    """An agent's key and the serial of its certificate."""

    key: ec.EllipticCurvePrivateKey
    trust_domain: str
    log_id: bytes
    serial: bytes
    number: int = 0

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.spki).digest()

    def request(self, entry_id: str, selectors: Sequence[str], items: int) -> signed_pb2.SignedRequest:
        """For so many certificates of one entry, each with a new key."""
        self.number += 1
        payload = ca_pb2.IssueRequest(
            items=[
                ca_pb2.IssueItem(
                    entry_id=entry_id, csr=make_csr(ec.generate_private_key(ec.SECP256R1())), selectors=selectors
                )
                for _ in range(items)
            ]
        )
        body = signed_pb2.SignedBody(
            trust_domain=self.trust_domain,
            method=ISSUE,
            log_id=self.log_id,
            number=self.number,
            serial=self.serial,
            payload=payload.SerializeToString(),
        ).SerializeToString()
        return signed_pb2.SignedRequest(body=body, signature=sign_octets(self.key, REQUEST_CONTEXT, body))
