"""Getting in with evidence of some kind, at the CA's bootstrap port.

To enroll is to make sure whom one talks to before anything is said: one TLS connection, made without verification,
shows the server's chain and its bundle; the bundle's digest must be the one that was known beforehand, and the chain
must lead to it and be that of a CA (`/inborn/ca/...`). Only then, and on that same connection, a CSR goes over with the
evidence and its proof.
"""

from __future__ import annotations

import datetime as dt
import hmac

import grpc.aio

from inborn._internal.address import parse_target
from inborn._internal.grpc_adapter.channel import grpc_channel
from inborn._internal.revocation.revocation_set import RevocationSet
from inborn._internal.rpc.services import MESSAGE_LIMITS, AioStub
from inborn._internal.source.snapshot import IdentitySource
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import PrivateKey, key_sha256
from inborn._internal.tls.context import unsafe_unverified_context
from inborn._internal.tls.tunnel import Tunnel
from inborn._internal.tls.verified_socket import peer_chain
from inborn._internal.verification.verify import verify_chain
from inborn.errors import InternalError, UnauthenticatedError, UnavailableError
from inborn_member.enrolled import BadAnswer, Enrolled, authorize_ca, judge_answer, make_csr
from inborn_member.node_attestors.node_evidence import NodeEvidence
from inborn_proto import ca_pb2

__all__ = ["BundleMismatch", "enroll", "find_api_address"]

_TIMEOUT = 30.0  # seconds for one unary call: the signer answers in milliseconds, and in seconds in a burst

_MAX_CHALLENGE = 1024  # bytes: the signer's have 56

_BOOTSTRAP = ca_pb2.DESCRIPTOR.services_by_name["Bootstrap"]


class BundleMismatch(UnauthenticatedError):
    """The server's bundle is not the one that was known beforehand."""


async def enroll(evidence: NodeEvidence, address: str, key: PrivateKey) -> Enrolled:
    """Enroll at the CA's bootstrap port `address` (`host:port`) with this evidence, for this key.

    The same key may ask again after a lost reply, so it is kept before this is called. Raises `BundleMismatch` and what
    `verify_chain` raises when the server is not the CA that is meant (nothing was told to it), `UnavailableError` when
    there is none, the CA's own errors, and `BadAnswer`.
    """
    host = parse_target(address).host
    tunnel = Tunnel(address, unsafe_unverified_context(["h2"]), only_one=True)
    options = [*MESSAGE_LIMITS, ("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", host)]
    try:
        async with grpc.aio.insecure_channel(tunnel.address, options) as channel:
            stub = AioStub(channel, _BOOTSTRAP)
            try:
                shown = await stub.unary(
                    "GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=_TIMEOUT
                )
            except UnavailableError as e:
                raise (tunnel.reason() if tunnel.failure else e) from e
            bundle = _judge_server(evidence, tunnel, shown)
            body = ca_pb2.EnrollBody(
                trust_domain=evidence.trust_domain.name,
                csr=make_csr(key),
                kind=evidence.kind,
                evidence=evidence.encode(),
                challenge=await _challenge(stub, evidence, key) if evidence.needs_challenge else b"",
            ).SerializeToString()
            answer = await stub.unary(
                "Enroll",
                ca_pb2.EnrollRequest(body=body, proof=evidence.prove(body)),
                ca_pb2.EnrollResponse,
                timeout=_TIMEOUT,
            )
    finally:
        tunnel.close()
    api_address = _api_address(shown, host)
    return judge_answer(answer, key, bundle, api_address)


async def _challenge(stub: AioStub, evidence: NodeEvidence, key: PrivateKey) -> bytes:
    request = ca_pb2.ChallengeRequest(kind=evidence.kind, key_hash=key_sha256(key.public_key()))
    answer = await stub.unary("Challenge", request, ca_pb2.ChallengeResponse, timeout=_TIMEOUT)
    if len(answer.challenge) > _MAX_CHALLENGE:
        raise BadAnswer(f"challenge is longer than {_MAX_CHALLENGE} bytes: {len(answer.challenge)}")
    return answer.challenge


async def find_api_address(source: IdentitySource, address: str, *, timeout: float = 5.0) -> str:
    """Ask at the CA's bootstrap port `address` where its API port is now: for who is enrolled and finds nobody there.

    The server must be a CA of the source's own trust domain. Raises `UnavailableError`.
    """
    host = parse_target(address).host
    trust_domain = source.snapshot().trust_domain
    if trust_domain is None:
        raise InternalError("source does not know its trust domain")
    async with grpc_channel(source, address, authorize_ca(trust_domain), aio=True) as channel:
        try:
            shown = await AioStub(channel, _BOOTSTRAP).unary(
                "GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=timeout
            )
        except UnavailableError as e:
            raise (channel.reason() or e) from e
    return _api_address(shown, host)


def _api_address(shown: ca_pb2.GetBundleResponse, host: str) -> str:
    """Where the API port is; the host that was dialled stands in where the CA names none. Raises `InvalidAddress`."""
    named = shown.api_address
    if named.startswith(":"):
        named = f"[{host}]{named}" if ":" in host else f"{host}{named}"
    return str(parse_target(named))


def _judge_server(evidence: NodeEvidence, tunnel: Tunnel, shown: ca_pb2.GetBundleResponse) -> X509Bundle:
    """The bundle, if it is the one that is meant and the server at the end of this very connection is its CA."""
    bundle = X509Bundle.parse(evidence.trust_domain, list(shown.roots))
    if not hmac.compare_digest(bundle.digest(), evidence.bundle_digest):
        raise BundleMismatch(
            f"server's bundle has digest {bundle.digest().hex()[:16]}, wanted is {evidence.bundle_digest.hex()[:16]}",
            hint=f"the CA's root was replaced since then, or this is another server; {evidence.advice}",
        )
    if tunnel.peer is None:
        raise UnauthenticatedError("server showed no certificate")
    verify_chain(
        peer_chain(tunnel.peer),
        bundles={evidence.trust_domain: bundle},
        revocations=RevocationSet(),
        authorize=authorize_ca(evidence.trust_domain),
        now=dt.datetime.now(dt.UTC),
    )
    return bundle
