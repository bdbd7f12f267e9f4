"""The CA's two ports with a real signer behind them: who is let in, what is answered, and what bad input meets."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.revocation.revocation_set import CertificateRevoked
from inborn._internal.rpc.services import AioStub
from inborn._internal.spiffe.x509_bundle import bundle_digest
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn._internal.verification.verify import CertificateExpired
from inborn._internal.wire.access import CallNotAllowed
from inborn.errors import RequestError, UnavailableError
from inborn_proto import admin_pb2, ca_pb2
from tests.rigs.front_rig import AUTHORITY, EnrolledAgent, Rig, enroll_request, make_csr, running_ca
from tests.rigs.resumption import watched
from tests.rigs.scraping import scrape


async def entry_for(rig: Rig, agent: EnrolledAgent, path: str = "/web") -> str:
    request = admin_pb2.CreateEntryRequest(
        spiffe_id=f"spiffe://example.org{path}", selectors=["unix:uid:1000"], node=agent.spiffe_id, ttl_seconds=300
    )
    return str((await rig.admin("CreateEntry", request)).entry.id)


async def issue(rig: Rig, agent: EnrolledAgent, entry_id: str, count: int = 1) -> list[X509Svid]:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]
    items = [ca_pb2.IssueItem(entry_id=entry_id, csr=make_csr(k), selectors=["unix:uid:1000"]) for k in keys]
    request = agent.sign("Issue", ca_pb2.IssueRequest(items=items).SerializeToString())
    response = await rig.authority(agent).unary("Issue", request, ca_pb2.IssueResponse, timeout=10)
    return [
        EnrolledAgent(key=key, response=ca_pb2.EnrollResponse(chain=[result.leaf, response.issuer])).svid
        for key, result in zip(keys, response.results, strict=True)
    ]


async def call_in_vain(stub: AioStub, agent: EnrolledAgent) -> None:
    """A call that is let in: the signer answers that it asks for nothing."""
    with pytest.raises(RequestError, match="has 0 items"):
        await stub.unary("Issue", agent.sign("Issue", b""), ca_pb2.IssueResponse, timeout=5)


async def test_bundle_is_given_to_anybody_and_is_the_one_that_tokens_pin(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        answer = await rig.bootstrap().unary(
            "GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=5
        )
        assert answer.trust_domain == "example.org"
        assert answer.api_address == f":{rig.settings.api.port}"
        assert answer.log_id == rig.signer.state.log_id
        assert bundle_digest(answer.roots) == (await rig.token()).bundle_digest


async def test_agent_enrolls_and_gets_certificates_for_its_entries(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll(name="web1")
        assert agent.spiffe_id.startswith("spiffe://example.org/inborn/agent/")
        svids = await issue(rig, agent, await entry_for(rig, agent), count=5)
        assert {str(s.spiffe_id) for s in svids} == {"spiffe://example.org/web"}


async def test_daemon_renews_and_may_not_issue(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        daemon = await rig.enroll(spiffe_id="spiffe://example.org/db")
        key = ec.generate_private_key(ec.SECP256R1())
        request = daemon.sign("Renew", ca_pb2.RenewRequest(csr=make_csr(key)).SerializeToString())
        answer = await rig.authority(daemon).unary("Renew", request, ca_pb2.EnrollResponse, timeout=10)
        assert answer.spiffe_id == "spiffe://example.org/db"
        with pytest.raises(CallNotAllowed, match=r"daemon may not call '/inborn.v1.Authority/Issue'"):
            await rig.authority(daemon).unary("Issue", daemon.sign("Issue", b""), ca_pb2.IssueResponse, timeout=10)


async def test_api_port_lets_nobody_in_without_a_certificate(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        with pytest.raises(UnavailableError):
            await rig.authority(None).unary("Issue", agent.sign("Issue", b""), ca_pb2.IssueResponse, timeout=5)


async def test_the_fronts_own_certificate_opens_nothing(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        assert rig.front.identity is not None
        own = rig.front.identity.svid
        channel = rig.channel(rig.settings.api, own)
        call = channel.unary_unary("/inborn.v1.Authority/Issue")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_bootstrap_port_has_nothing_but_its_two_methods(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        channel = rig.channel(rig.settings.bootstrap)
        for method in ("/inborn.v1.Authority/Issue", "/inborn.admin.v1.Admin/GetStatus", "/inborn.v1.Bootstrap/Nope"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method)(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_request_that_is_no_message_is_an_invalid_argument(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        channel = rig.channel(rig.settings.bootstrap)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/inborn.v1.Bootstrap/Enroll")(b"\xff\xff", timeout=5)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "request of /inborn.v1.Bootstrap/Enroll is not a EnrollRequest"


async def test_csr_of_20_kib_is_refused_by_its_rule_and_not_by_the_transport(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        request = enroll_request(await rig.token(), b"\x30" * 20 * 1024)
        with pytest.raises(RequestError, match="16384"):
            await rig.bootstrap().unary("Enroll", request, ca_pb2.EnrollResponse, timeout=5)


async def test_revoked_agent_is_refused_at_its_next_call_on_the_open_connection(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        stub = rig.authority(agent)
        await call_in_vain(stub, agent)
        await rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=agent.spiffe_id))
        with pytest.raises(CertificateRevoked, match="is revoked by"):
            await stub.unary("Issue", agent.sign("Issue", b""), ca_pb2.IssueResponse, timeout=5)


async def test_expired_agent_is_refused_at_its_next_call_on_the_open_connection(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        agent = await rig.enroll()
        stub = rig.authority(agent)
        await call_in_vain(stub, agent)
        rig.clock.ahead = dt.timedelta(days=8)
        with pytest.raises(CertificateExpired):
            await stub.unary("Issue", agent.sign("Issue", b""), ca_pb2.IssueResponse, timeout=5)


async def test_denied_call_is_in_the_audit_trail(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        daemon = await rig.enroll(spiffe_id="spiffe://example.org/db")
        with pytest.raises(CallNotAllowed):
            await rig.authority(daemon).unary("Issue", daemon.sign("Issue", b""), ca_pb2.IssueResponse, timeout=10)
        rows = (await rig.admin("ListAudit", admin_pb2.ListAuditRequest(action="rpc.denied"))).rows
        assert [(r.actor, r.subject) for r in rows] == [("spiffe://example.org/db", "/inborn.v1.Authority/Issue")]


async def test_where_somebody_who_joins_comes_from_is_an_address(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        await rig.enroll()
        (row,) = (await rig.admin("ListAudit", admin_pb2.ListAuditRequest(action="agent.enroll"))).rows
        assert row.origin.startswith("127.0.0.1:")


async def test_burst_of_calls_is_answered_and_nobody_gets_a_bare_cancelled(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        stubs = [rig.bootstrap() for _ in range(80)]  # joiners have a connection each
        request = ca_pb2.GetBundleRequest()
        calls = [stubs[n % 80].unary("GetBundle", request, ca_pb2.GetBundleResponse, timeout=60) for n in range(4000)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [a for a in answers if isinstance(a, BaseException)] == []


async def test_resumed_session_opens_nothing_that_its_certificate_does_not(tmp_path: Path) -> None:
    """Sessions are resumed, as gRPC's servers do; the certificate that comes along is looked at in each call."""
    from grpc._cython import cygrpc

    async with running_ca(tmp_path) as rig, watched(rig.settings.api) as (api, seen):
        agent = await rig.enroll()
        cache = cygrpc.SSLSessionCacheLRU(4)

        def connect() -> grpc.aio.Channel:
            return grpc.aio.secure_channel(
                str(api),
                grpc.ssl_channel_credentials(rig.roots_pem, agent.svid.key_pem(), agent.svid.chain_pem()),
                options=[
                    ("grpc.ssl_target_name_override", rig.signer.state.ca_name("front").alias),
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.ssl_session_cache", cache),
                ],
            )

        for _ in range(3):
            async with connect() as channel:
                await call_in_vain(AioStub(channel, AUTHORITY), agent)
        rig.clock.ahead = dt.timedelta(days=8)
        async with connect() as channel:
            with pytest.raises(CertificateExpired):
                await AioStub(channel, AUTHORITY).unary(
                    "Issue", agent.sign("Issue", b""), ca_pb2.IssueResponse, timeout=5
                )
        rig.clock.ahead = dt.timedelta(0)
        await rig.admin("BanAgent", admin_pb2.BanAgentRequest(agent=agent.spiffe_id))
        async with connect() as channel:
            with pytest.raises(CertificateRevoked):
                await AioStub(channel, AUTHORITY).unary(
                    "Issue", agent.sign("Issue", b""), ca_pb2.IssueResponse, timeout=5
                )
        assert seen == [False, True, True, True, True]


async def test_health_asks_the_ports_from_outside(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        answer = await rig.admin("CheckHealth", admin_pb2.CheckHealthRequest())
        assert answer.healthy
        names = {check.name: check.healthy for check in answer.checks}
        assert {name for name in names if "bootstrap" in name or "api" in name}


async def test_fronts_certificate_is_renewed_and_new_handshakes_see_it(tmp_path: Path) -> None:
    async with running_ca(tmp_path, front=dt.timedelta(seconds=2)) as rig:
        assert rig.front.identity is not None
        first = rig.front.identity.svid.facts.serial
        async with asyncio.timeout(10):
            while rig.front.identity.svid.facts.serial == first:
                await asyncio.sleep(0.05)
        answer = await rig.admin("CheckHealth", admin_pb2.CheckHealthRequest())  # which dials the ports
        assert [check.name for check in answer.checks if not check.healthy] == []


async def test_stopping_front_says_unavailable(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as rig:
        stub = rig.bootstrap()
        await stub.unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=5)
        for port in rig.front.ports:
            port.close(UnavailableError("the CA is stopping"))
        with pytest.raises(UnavailableError, match="the CA is stopping"):
            await stub.unary("GetBundle", ca_pb2.GetBundleRequest(), ca_pb2.GetBundleResponse, timeout=5)


async def test_metrics_are_served_on_loopback(tmp_path: Path) -> None:
    async with running_ca(tmp_path, metrics=True) as rig:
        agent = await rig.enroll()
        await issue(rig, agent, await entry_for(rig, agent))
        assert rig.settings.metrics is not None
        scraped = await scrape(rig.settings.metrics.port)
        assert scraped.value("inborn_ca_certificates_total", outcome="issued") == 1
        assert scraped.value("inborn_ca_calls_total", method="/inborn.v1.Bootstrap/Enroll", outcome="ok") == 1
        assert scraped.value("inborn_ca_call_seconds_total", method="/inborn.v1.Bootstrap/Enroll") > 0
        assert scraped.value("inborn_ca_streams") == 0
        assert scraped.value("inborn_ca_open_alarms") == 0
        assert scraped.value("inborn_ca_issuing_expires") > 1e9
