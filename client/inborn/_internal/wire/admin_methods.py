"""The admin's methods: one typed declaration each, and everything else follows from it.

A verb's module calls `ca.call(CREATE_ENTRY, request)` and gets what the declaration says. The signer's table
(`signer/api`) must answer every method that is declared, and is typed by the same declaration. The access table takes
its rows from here. A further method is an rpc in admin.proto, a line below, an answer in the signer's table, and
whatever calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from inborn._internal.wire.caller_class import CallerClass
from inborn.errors import InternalError
from inborn_proto import admin_pb2 as pb

__all__ = ["METHODS", "AdminMethod", "Effect"]  # and the declarations at the end

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_SERVICE = pb.DESCRIPTOR.services_by_name["Admin"]
_ADMINS = frozenset({CallerClass.LOCAL_ADMIN})


class Effect(StrEnum):
    """What a call leaves behind."""

    READS = "reads"
    """Nothing."""
    CHANGES = "changes"
    """Something, and the same call again would change something else or be refused."""
    REPEATABLE = "repeatable"
    """Something, and the same request again changes nothing more: it may be sent anew when the answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminMethod(Generic[Request, Response]):
    """One method of the Admin service."""

    name: str
    """In full: `/inborn.admin.v1.Admin/CreateEntry`."""
    request: type[Request]
    response: type[Response]
    effect: Effect
    callers: frozenset[CallerClass]


_declared: dict[str, AdminMethod[Any, Any]] = {}


def declare(
    name: str,
    request: type[Request],
    response: type[Response],
    effect: Effect,
    callers: frozenset[CallerClass] = _ADMINS,
) -> AdminMethod[Request, Response]:
    """Raises `InternalError` where admin.proto says otherwise: then the program does not start."""
    known = _SERVICE.methods_by_name.get(name)
    if known is None or (known.input_type, known.output_type) != (request.DESCRIPTOR, response.DESCRIPTOR):
        raise InternalError(f"{name} is not declared as admin.proto has it")
    method = AdminMethod(
        name=f"/{_SERVICE.full_name}/{name}", request=request, response=response, effect=effect, callers=callers
    )
    _declared[name] = method
    return method


CREATE_TOKEN = declare("CreateToken", pb.CreateTokenRequest, pb.CreateTokenResponse, Effect.CHANGES)
LIST_TOKENS = declare("ListTokens", pb.ListTokensRequest, pb.ListTokensResponse, Effect.READS)
REVOKE_TOKEN = declare("RevokeToken", pb.RevokeTokenRequest, pb.RevokeTokenResponse, Effect.CHANGES)
SET_X509POP = declare("SetX509Pop", pb.SetX509PopRequest, pb.X509Pop, Effect.CHANGES)
GET_X509POP = declare("GetX509Pop", pb.GetX509PopRequest, pb.X509Pop, Effect.READS)
REMOVE_X509POP = declare("RemoveX509Pop", pb.RemoveX509PopRequest, pb.X509Pop, Effect.CHANGES)
CREATE_ENTRY = declare("CreateEntry", pb.CreateEntryRequest, pb.EntryResponse, Effect.CHANGES)
LIST_ENTRIES = declare("ListEntries", pb.ListEntriesRequest, pb.ListEntriesResponse, Effect.READS)
GET_ENTRY = declare("GetEntry", pb.EntryRequest, pb.EntryResponse, Effect.READS)
UPDATE_ENTRY = declare("UpdateEntry", pb.UpdateEntryRequest, pb.EntryResponse, Effect.CHANGES)
DELETE_ENTRY = declare("DeleteEntry", pb.EntryRequest, pb.EntryResponse, Effect.CHANGES)
CREATE_POSTURE_POLICY = declare("CreatePosturePolicy", pb.CreatePosturePolicyRequest, pb.PosturePolicy, Effect.CHANGES)
LIST_POSTURE_POLICIES = declare(
    "ListPosturePolicies", pb.ListPosturePoliciesRequest, pb.ListPosturePoliciesResponse, Effect.READS
)
DELETE_POSTURE_POLICY = declare("DeletePosturePolicy", pb.DeletePosturePolicyRequest, pb.PosturePolicy, Effect.CHANGES)
LIST_CERTIFICATES = declare("ListCertificates", pb.ListCertificatesRequest, pb.ListCertificatesResponse, Effect.READS)
GET_CERTIFICATE = declare("GetCertificate", pb.GetCertificateRequest, pb.Certificate, Effect.READS)
LIST_AGENTS = declare("ListAgents", pb.ListAgentsRequest, pb.ListAgentsResponse, Effect.READS)
BAN_AGENT = declare("BanAgent", pb.BanAgentRequest, pb.RevokeResponse, Effect.REPEATABLE)
REVOKE = declare("Revoke", pb.RevokeRequest, pb.RevokeResponse, Effect.REPEATABLE)  # by its request_id
GET_EXPANSION = declare("GetExpansion", pb.ExpansionRequest, pb.ExpansionResponse, Effect.READS)
GET_AUTHORITY_REVOCATION = declare(
    "GetAuthorityRevocation", pb.AuthorityRevocationRequest, pb.AuthorityRevocationResponse, Effect.READS
)
LIST_FINDINGS = declare("ListFindings", pb.ListFindingsRequest, pb.ListFindingsResponse, Effect.READS)
ACCEPT_FINDING = declare("AcceptFinding", pb.AcceptFindingRequest, pb.Finding, Effect.CHANGES)
UNBLOCK = declare("Unblock", pb.UnblockRequest, pb.UnblockResponse, Effect.CHANGES)
LIST_REVOCATIONS = declare("ListRevocations", pb.ListRevocationsRequest, pb.ListRevocationsResponse, Effect.READS)
GET_PROPAGATION = declare("GetPropagation", pb.PropagationRequest, pb.PropagationResponse, Effect.READS)
GET_BUNDLE = declare("GetBundle", pb.GetBundleRequest, pb.GetBundleResponse, Effect.READS)
CHECK_HEALTH = declare("CheckHealth", pb.CheckHealthRequest, pb.CheckHealthResponse, Effect.CHANGES)
GET_STATUS = declare("GetStatus", pb.StatusRequest, pb.StatusResponse, Effect.READS)
LIST_AUDIT = declare("ListAudit", pb.ListAuditRequest, pb.ListAuditResponse, Effect.READS)
LIST_ALARMS = declare("ListAlarms", pb.ListAlarmsRequest, pb.ListAlarmsResponse, Effect.READS)
ACKNOWLEDGE_ALARM = declare("AcknowledgeAlarm", pb.AcknowledgeAlarmRequest, pb.Alarm, Effect.CHANGES)
BACKUP = declare("Backup", pb.BackupRequest, pb.BackupResponse, Effect.CHANGES)

METHODS: Mapping[str, AdminMethod[Any, Any]] = MappingProxyType(_declared)
"""All of them by their bare names."""
