"""A CA for tests of the command: it answers the Admin service over a real UNIX socket, frame by frame, with what it was
told to know. It signs nothing and keeps nothing; what it was asked stands in `requests`."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shlex
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from inborn._internal.wire.frames import FrameReader, encode_frame
from inborn._internal.wire.messages import error_to_message
from inborn._internal.wire.methods import find_method
from inborn.errors import InbornError, NotFoundError, PreconditionError, RequestError
from inborn_cli import main
from inborn_proto import admin_pb2 as pb
from inborn_proto import signer_pb2

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
WEB = "spiffe://example.org/web"
AGENT = "spiffe://example.org/inborn/agent/a1"
ENTRY_ID = "0b7f4a4e-63e6-4b9c-8d58-2d5f0a1f5a51"
BLOCKED = (
    f"entry:{ENTRY_ID}",
    f"id:{WEB}",
    "id-prefix:spiffe://example.org/shop",
    f"key:{'cc' * 32}",
    f"node:{AGENT}",
    "selector:docker:label:app:a b",
)
AUTHORITY = "aa" * 20
POLICY_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
TOKEN_ID = "5d41402abc4b2a76b9719d911017c592"


def stamp(**after: float) -> Timestamp:
    """Noon of the fake's day, and so much later."""
    made = Timestamp()
    made.FromDatetime(NOON + dt.timedelta(**after))
    return made


def x509pop(template: str) -> pb.X509Pop:
    """With a subject that would write in a terminal."""
    authority = pb.X509PopAuthority(
        subject="CN=Machines\x1b[2J CA", fingerprint="0a54fb54" * 5, not_after=stamp(days=7)
    )
    return pb.X509Pop(authorities=[authority], path_template=template)


class FakeCa:
    """Answers on `path` until it is closed. A method that has an entry in `answers` is answered by it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[tuple[str, Message]] = []
        self.answers: dict[str, Callable[[Message], Message]] = {}
        self.entries = {ENTRY_ID: web_entry()}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader()
        with connection, contextlib.suppress(OSError):  # an answer that raises OSError is a reply that is lost
            while data := connection.recv(65536):
                for payload in reader.feed(data):
                    connection.sendall(encode_frame(self._answer(signer_pb2.Frame.FromString(payload))))

    def _answer(self, frame: signer_pb2.Frame) -> bytes:
        request = find_method(frame.method).request.FromString(frame.body)
        name = frame.method.rpartition("/")[2]
        self.requests.append((name, request))
        answer = signer_pb2.Frame(id=frame.id)
        try:
            respond = self.answers.get(name) or getattr(self, name)
            answer.body = respond(request).SerializeToString()
        except InbornError as error:
            answer.error.CopyFrom(error_to_message(error))
        return answer.SerializeToString()

    def CreateToken(self, request: pb.CreateTokenRequest) -> pb.CreateTokenResponse:
        info = pb.Token(
            id=TOKEN_ID,
            kind="daemon" if request.spiffe_id else "agent",
            spiffe_id=request.spiffe_id,
            name=request.name,
            groups=request.groups,
            uses=request.uses or 1,
            created_at=stamp(),
            expires_at=stamp(seconds=request.ttl_seconds or 600),
            created_by="uid:0",
        )
        return pb.CreateTokenResponse(
            token="inborn1-secret-example.org", info=info, bootstrap_address="ca.example.org:8443"
        )

    def ListTokens(self, request: pb.ListTokensRequest) -> pb.ListTokensResponse:
        tokens = [
            pb.Token(
                id=TOKEN_ID,
                kind="agent",
                name="web1",
                groups=["web"],
                uses=1,
                created_at=stamp(),
                expires_at=stamp(minutes=10),
                created_by="uid:0",
            )
        ]
        if request.all:
            tokens.append(pb.Token(id="ab" * 16, kind="daemon", spiffe_id=WEB, uses=2, used=2, withdrawn_at=stamp()))
        return pb.ListTokensResponse(tokens=tokens)

    def RevokeToken(self, request: pb.RevokeTokenRequest) -> pb.RevokeTokenResponse:
        if request.id != TOKEN_ID:
            raise NotFoundError(f"no such token: {request.id}", hint="inborn token list --all")
        return pb.RevokeTokenResponse(token=pb.Token(id=TOKEN_ID, kind="agent", used=1, withdrawn_at=stamp()))

    def CreateEntry(self, request: pb.CreateEntryRequest) -> pb.EntryResponse:
        entry = web_entry()
        del entry.selectors[:]
        entry.selectors.extend(request.selectors)
        warnings = [] if any("uid" in s for s in request.selectors) else ["entry rests on unix:path alone"]
        return pb.EntryResponse(entry=entry, warnings=warnings)

    def ListEntries(self, request: pb.ListEntriesRequest) -> pb.ListEntriesResponse:
        return pb.ListEntriesResponse(entries=self.entries.values())

    def GetEntry(self, request: pb.EntryRequest) -> pb.EntryResponse:
        if request.id not in self.entries:
            raise NotFoundError(f"no such entry: {request.id}")
        return pb.EntryResponse(entry=self.entries[request.id])

    def UpdateEntry(self, request: pb.UpdateEntryRequest) -> pb.EntryResponse:
        return pb.EntryResponse(entry=self.entries[request.id])

    def DeleteEntry(self, request: pb.EntryRequest) -> pb.EntryResponse:
        return self.GetEntry(request)

    def SetX509Pop(self, request: pb.SetX509PopRequest) -> pb.X509Pop:
        if not request.ca_bundle:
            raise RequestError("CA bundle has 0 certificates, 1 to 16 are taken")
        return x509pop(request.path_template or "{{ .PluginName }}/{{ .Fingerprint }}")

    def GetX509Pop(self, request: pb.GetX509PopRequest) -> pb.X509Pop:
        return x509pop("x509pop/{{ .Subject.CommonName }}")

    def RemoveX509Pop(self, request: pb.RemoveX509PopRequest) -> pb.X509Pop:
        return self.GetX509Pop(pb.GetX509PopRequest())

    def CreatePosturePolicy(self, request: pb.CreatePosturePolicyRequest) -> pb.PosturePolicy:
        made = rule()
        del made.demands[:]
        made.demands.extend(request.demands)
        made.id_prefix, made.note = request.id_prefix, request.note
        return made

    def ListPosturePolicies(self, request: pb.ListPosturePoliciesRequest) -> pb.ListPosturePoliciesResponse:
        return pb.ListPosturePoliciesResponse(policies=[rule()])

    def DeletePosturePolicy(self, request: pb.DeletePosturePolicyRequest) -> pb.PosturePolicy:
        if request.id != POLICY_ID:
            raise NotFoundError(f"no policy has id {request.id!a}", hint="inborn posture list shows them")
        return rule()

    def ListCertificates(self, request: pb.ListCertificatesRequest) -> pb.ListCertificatesResponse:
        known = [certificate(number) for number in range(1, 6)]
        after = [c for c in known if c.serial > request.after_serial]
        limit = request.limit or 1000
        return pb.ListCertificatesResponse(certificates=after[:limit], more=len(after) > limit)

    def GetCertificate(self, request: pb.GetCertificateRequest) -> pb.Certificate:
        return certificate(1)

    def ListAgents(self, request: pb.ListAgentsRequest) -> pb.ListAgentsResponse:
        agent = pb.Agent(
            spiffe_id=AGENT,
            name="web1",
            groups=["web"],
            state="active",
            connected=True,
            enrolled_at=stamp(),
            svid_expires_at=stamp(days=7),
            revocation_seq=17,
            heard_at=stamp(),
            attested_by="join_token",
            attested_subject="5d41402abc4b2a76b9719d911017c592",
        )
        return pb.ListAgentsResponse(agents=[agent])

    def BanAgent(self, request: pb.BanAgentRequest) -> pb.RevokeResponse:
        return pb.RevokeResponse(
            revocation_seq=18, log_id=b"\x01" * 16, certificates=600, identities=7, blocked=True, expansion=4
        )

    def Revoke(self, request: pb.RevokeRequest) -> pb.RevokeResponse:
        """One ID has three certificates; all else is known by 600 of seven IDs, which is above the guard."""
        if request.spiffe_id.startswith("spiffe://example.org/inborn/"):
            raise RequestError("id is reserved", hint="inborn agent ban")
        is_small = bool(request.spiffe_id or request.serial or request.key)
        response = pb.RevokeResponse(
            log_id=b"\x01" * 16,
            certificates=3 if is_small else 600,
            identities=1 if is_small else 7,
            nodes=1 if is_small else 2,
            examples=[WEB] if is_small else [f"{WEB}/{number}" for number in range(7)],
            dry_run=request.dry_run,
            needs_count=not is_small,
        )
        if request.dry_run:
            return response
        if response.needs_count and request.expect_count != 600:
            raise PreconditionError(
                "600 certificates would be hit, more than 500", hint="if that is meant: --expect-count 600"
            )
        if request.authority:
            response.authority = AUTHORITY
            return response
        response.revocation_seq = 18
        response.blocked = not request.serial and not request.reissue
        response.token = "inborn1-again-example.org" if request.reissue and request.spiffe_id else ""
        response.expansion = 4 if request.entry or request.agent or request.selector else 0
        return response

    def GetExpansion(self, request: pb.ExpansionRequest) -> pb.ExpansionResponse:
        asked = [r for _, r in self.requests if isinstance(r, pb.RevokeRequest) and not r.dry_run]
        target = f"node:{AGENT}" if not asked or asked[-1].agent else f"selector:{asked[-1].selector}"
        return pb.ExpansionResponse(id=request.id, target=target, revoked=599, finished=True, revocation_seq=617)

    def GetAuthorityRevocation(self, request: pb.AuthorityRevocationRequest) -> pb.AuthorityRevocationResponse:
        steps = ("preparing", "pushing", "activating", "renewing", "settling", "revoking")
        step = steps[steps.index(request.step) + 1 :][:1] if request.step else steps[:1]
        if step:
            return pb.AuthorityRevocationResponse(authority=request.authority, step=step[0])
        return pb.AuthorityRevocationResponse(
            authority=request.authority, step="revoked", finished=True, revocation_seq=18, successor="bb" * 20,
            laggards=["spiffe://example.org/inborn/agent/a2"], away=["spiffe://example.org/db"],
        )  # fmt: skip

    def ListFindings(self, request: pb.ListFindingsRequest) -> pb.ListFindingsResponse:
        rule = pb.Finding(
            id=1, kind="revocation", subject=f"id:{WEB}", reporter=AGENT, found_at=stamp(),
            revocation_seq=18, accepted_at=stamp(), accepted_by="ca",
        )  # fmt: skip
        waiting = pb.Finding(id=2, kind="certificate", subject="0199", reporter=AGENT, found_at=stamp())
        if request.all and not request.after_id:
            return pb.ListFindingsResponse(findings=[rule], more=True)
        return pb.ListFindingsResponse(findings=[waiting])

    def AcceptFinding(self, request: pb.AcceptFindingRequest) -> pb.Finding:
        if request.id != 2:
            raise NotFoundError(f"no finding has number {request.id}", hint="inborn findings list")
        return pb.Finding(id=2, kind="certificate", subject="0199", reporter=AGENT, accepted_by="uid:0")

    def GetPropagation(self, request: pb.PropagationRequest) -> pb.PropagationResponse:
        return pb.PropagationResponse(peers=2, applied=2)

    def Unblock(self, request: pb.UnblockRequest) -> pb.UnblockResponse:
        if request.target not in BLOCKED:
            raise NotFoundError(f"not blocked: {request.target}", hint="inborn blocks list")
        return pb.UnblockResponse(blocks=[pb.Block(target=request.target, since=stamp(), actor="uid:0")])

    def ListRevocations(self, request: pb.ListRevocationsRequest) -> pb.ListRevocationsResponse:
        revocation = pb.Revocation(
            seq=17,
            target=f"id:{WEB}",
            reason="keyCompromise",
            blocks=True,
            actor="uid:0",
            note="a note\x1b[2J",
            revoked_at=stamp(),
            alive_until=stamp(hours=1),
        )
        blocks = [pb.Block(target=target, since=stamp(), actor="uid:0", revocation_seq=17) for target in BLOCKED]
        return pb.ListRevocationsResponse(
            revocations=[revocation] if request.after_seq < revocation.seq else [],
            blocks=[] if request.after_seq else blocks,
            revocation_seq=17,
        )

    def CheckHealth(self, request: pb.CheckHealthRequest) -> pb.CheckHealthResponse:
        check = pb.Check(name="issue", healthy=True, detail="signed and verified", milliseconds=3.25)
        return pb.CheckHealthResponse(healthy=True, checks=[check])

    def GetStatus(self, request: pb.StatusRequest) -> pb.StatusResponse:
        return pb.StatusResponse(
            trust_domain="example.org",
            log_id="01" * 16,
            started_at=stamp(),
            bootstrap_address="127.0.0.1:8443",
            api_address="127.0.0.1:8444",
            authorities=[
                pb.AuthorityStatus(id="aa" * 20, kind="root", state="root", not_after=stamp(days=36000)),
                pb.AuthorityStatus(id="bb" * 20, kind="issuing", state="active", not_after=stamp(days=36000)),
            ],
            agents_connected=1,
            agents=1,
            entries=1,
            certificates_issued=5,
            revocation_seq=17,
            data_dir="/var/lib/inborn",
            version="0.1.0",
        )

    def ListAudit(self, request: pb.ListAuditRequest) -> pb.ListAuditResponse:
        rows = [
            pb.AuditRow(
                id=1,
                at=stamp(),
                actor="uid:0",
                action="entry.create",
                subject=ENTRY_ID,
                detail='{"node":"any"}',
                origin="unix",
                count=1,
            ),
            pb.AuditRow(
                id=2,
                at=stamp(seconds=1),
                actor=f"agent:{AGENT}",
                action="issue.denied",
                subject=WEB,
                detail="{}",
                origin="192.0.2.7:4711",
                count=12,
            ),
        ]
        return pb.ListAuditResponse(rows=[row for row in rows if row.id > request.after_id][: request.limit or 1000])

    def ListAlarms(self, request: pb.ListAlarmsRequest) -> pb.ListAlarmsResponse:
        return pb.ListAlarmsResponse(alarms=[two_holders()])

    def AcknowledgeAlarm(self, request: pb.AcknowledgeAlarmRequest) -> pb.Alarm:
        if request.id != 3:
            raise NotFoundError(f"no such alarm: {request.id}")
        alarm = two_holders()
        alarm.acknowledged_at.CopyFrom(stamp(minutes=1))
        alarm.acknowledged_by = "uid:0"
        return alarm

    def Backup(self, request: pb.BackupRequest) -> pb.BackupResponse:
        if request.path == "/there/already":
            raise PreconditionError("file exists: /there/already")
        return pb.BackupResponse(path=request.path, size_bytes=4096, with_keys=bool(request.passphrase))


def web_entry() -> pb.Entry:
    return pb.Entry(
        id=ENTRY_ID,
        spiffe_id=WEB,
        selectors=["unix:path:/opt/web", "unix:uid:1000"],
        node="name:web1",
        ttl_seconds=3600,
        dns_names=["web.example.org"],
        revision=4,
        created_at=stamp(),
        updated_at=stamp(),
    )


def rule() -> pb.PosturePolicy:
    return pb.PosturePolicy(
        id=POLICY_ID,
        id_prefix="spiffe://example.org/web",
        demands=["posture:cap_eff_lacks:CAP_SYS_ADMIN", "posture:seccomp:filter|posture:seccomp:strict", "unix:gid:7"],
        note="locked in\x1b[2J",
        created_at=stamp(),
        created_by="uid:0",
        entries=1,
    )


def certificate(number: int) -> pb.Certificate:
    return pb.Certificate(
        serial=f"0199{number:034x}",
        spiffe_id=WEB,
        kind="workload",
        entry_id=ENTRY_ID,
        node=AGENT,
        key_sha256="cc" * 32,
        authority="bb" * 20,
        issued_at=stamp(minutes=number),
        not_after=stamp(minutes=number + 60),
        selectors=["unix:uid:1000"],
        revoked_by=17 if number == 2 else 0,
    )


def two_holders() -> pb.Alarm:
    return pb.Alarm(
        id=3,
        kind="renewal.two_holders",
        subject=AGENT,
        message="two parties hold the key of this agent",
        opened_at=stamp(),
        count=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one command line did."""

    status: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for sockets in it."""
    made = tempfile.mkdtemp(prefix="inborn-")
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture
def fake_ca(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCa]:
    """A fake CA that every command of this test talks to."""
    ca = FakeCa(short_dir / "signer.sock")
    monkeypatch.setenv("INBORN_ADMIN_SOCKET", str(ca.path))
    yield ca
    ca.close()


@pytest.fixture
def inborn(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs a command line, given as one string or word by word, in this process; nobody is at the keyboard."""

    def run(*words: str) -> Ran:
        capfd.readouterr()
        status = main(shlex.split(words[0]) if len(words) == 1 else list(words))
        captured = capfd.readouterr()
        return Ran(status=status, out=captured.out, err=captured.err)

    monkeypatch.setenv("COLUMNS", "100")
    with open(os.devnull, encoding="ascii") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        yield run
