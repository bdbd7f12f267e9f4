from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateTokenRequest(_message.Message):
    __slots__ = ("ttl_seconds", "uses", "spiffe_id", "agent", "name", "groups", "local")
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    ttl_seconds: int
    uses: int
    spiffe_id: str
    agent: str
    name: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    local: bool
    def __init__(self, ttl_seconds: _Optional[int] = ..., uses: _Optional[int] = ..., spiffe_id: _Optional[str] = ..., agent: _Optional[str] = ..., name: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., local: bool = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "info", "bootstrap_address")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    token: str
    info: Token
    bootstrap_address: str
    def __init__(self, token: _Optional[str] = ..., info: _Optional[_Union[Token, _Mapping]] = ..., bootstrap_address: _Optional[str] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "kind", "spiffe_id", "name", "groups", "uses", "used", "created_at", "expires_at", "withdrawn_at", "created_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    spiffe_id: str
    name: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    uses: int
    used: int
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    withdrawn_at: _timestamp_pb2.Timestamp
    created_by: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., name: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., uses: _Optional[int] = ..., used: _Optional[int] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., withdrawn_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: bool
    def __init__(self, all: bool = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: Token
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class SetX509PopRequest(_message.Message):
    __slots__ = ("ca_bundle", "path_template")
    CA_BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PATH_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    ca_bundle: bytes
    path_template: str
    def __init__(self, ca_bundle: _Optional[bytes] = ..., path_template: _Optional[str] = ...) -> None: ...

class GetX509PopRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveX509PopRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class X509Pop(_message.Message):
    __slots__ = ("authorities", "path_template")
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    PATH_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    authorities: _containers.RepeatedCompositeFieldContainer[X509PopAuthority]
    path_template: str
    def __init__(self, authorities: _Optional[_Iterable[_Union[X509PopAuthority, _Mapping]]] = ..., path_template: _Optional[str] = ...) -> None: ...

class X509PopAuthority(_message.Message):
    __slots__ = ("subject", "fingerprint", "not_after")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    subject: str
    fingerprint: str
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, subject: _Optional[str] = ..., fingerprint: _Optional[str] = ..., not_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "spiffe_id", "selectors", "node", "ttl_seconds", "dns_names", "common_name", "hint", "revision", "created_at", "updated_at", "revoke_when_lost", "demands")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    REVOKE_WHEN_LOST_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    spiffe_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    node: str
    ttl_seconds: int
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    common_name: str
    hint: str
    revision: int
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    revoke_when_lost: bool
    demands: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., ttl_seconds: _Optional[int] = ..., dns_names: _Optional[_Iterable[str]] = ..., common_name: _Optional[str] = ..., hint: _Optional[str] = ..., revision: _Optional[int] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_when_lost: bool = ..., demands: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateEntryRequest(_message.Message):
    __slots__ = ("spiffe_id", "selectors", "node", "ttl_seconds", "dns_names", "common_name", "hint", "revoke_when_lost")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REVOKE_WHEN_LOST_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    node: str
    ttl_seconds: int
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    common_name: str
    hint: str
    revoke_when_lost: bool
    def __init__(self, spiffe_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., ttl_seconds: _Optional[int] = ..., dns_names: _Optional[_Iterable[str]] = ..., common_name: _Optional[str] = ..., hint: _Optional[str] = ..., revoke_when_lost: bool = ...) -> None: ...

class UpdateEntryRequest(_message.Message):
    __slots__ = ("id", "set", "selectors", "node", "ttl_seconds", "dns_names", "common_name", "hint", "revoke_when_lost")
    ID_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REVOKE_WHEN_LOST_FIELD_NUMBER: _ClassVar[int]
    id: str
    set: _containers.RepeatedScalarFieldContainer[str]
    selectors: _containers.RepeatedScalarFieldContainer[str]
    node: str
    ttl_seconds: int
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    common_name: str
    hint: str
    revoke_when_lost: bool
    def __init__(self, id: _Optional[str] = ..., set: _Optional[_Iterable[str]] = ..., selectors: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., ttl_seconds: _Optional[int] = ..., dns_names: _Optional[_Iterable[str]] = ..., common_name: _Optional[str] = ..., hint: _Optional[str] = ..., revoke_when_lost: bool = ...) -> None: ...

class EntryRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class EntryResponse(_message.Message):
    __slots__ = ("entry", "warnings")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class PosturePolicy(_message.Message):
    __slots__ = ("id", "id_prefix", "demands", "note", "created_at", "created_by", "entries")
    ID_FIELD_NUMBER: _ClassVar[int]
    ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    id: str
    id_prefix: str
    demands: _containers.RepeatedScalarFieldContainer[str]
    note: str
    created_at: _timestamp_pb2.Timestamp
    created_by: str
    entries: int
    def __init__(self, id: _Optional[str] = ..., id_prefix: _Optional[str] = ..., demands: _Optional[_Iterable[str]] = ..., note: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., entries: _Optional[int] = ...) -> None: ...

class CreatePosturePolicyRequest(_message.Message):
    __slots__ = ("id_prefix", "demands", "note")
    ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id_prefix: str
    demands: _containers.RepeatedScalarFieldContainer[str]
    note: str
    def __init__(self, id_prefix: _Optional[str] = ..., demands: _Optional[_Iterable[str]] = ..., note: _Optional[str] = ...) -> None: ...

class ListPosturePoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPosturePoliciesResponse(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[PosturePolicy]
    def __init__(self, policies: _Optional[_Iterable[_Union[PosturePolicy, _Mapping]]] = ...) -> None: ...

class DeletePosturePolicyRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("spiffe_id", "node", "selector")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    node: str
    selector: str
    def __init__(self, spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., selector: _Optional[str] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("serial", "spiffe_id", "kind", "entry_id", "node", "key_sha256", "authority", "issued_at", "not_after", "selectors", "revoked_by")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    KEY_SHA256_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_BY_FIELD_NUMBER: _ClassVar[int]
    serial: str
    spiffe_id: str
    kind: str
    entry_id: str
    node: str
    key_sha256: str
    authority: str
    issued_at: _timestamp_pb2.Timestamp
    not_after: _timestamp_pb2.Timestamp
    selectors: _containers.RepeatedScalarFieldContainer[str]
    revoked_by: int
    def __init__(self, serial: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., kind: _Optional[str] = ..., entry_id: _Optional[str] = ..., node: _Optional[str] = ..., key_sha256: _Optional[str] = ..., authority: _Optional[str] = ..., issued_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., not_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., selectors: _Optional[_Iterable[str]] = ..., revoked_by: _Optional[int] = ...) -> None: ...

class ListCertificatesRequest(_message.Message):
    __slots__ = ("spiffe_id", "node", "entry_id", "issued_after", "issued_before", "history", "limit", "after_serial")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AFTER_FIELD_NUMBER: _ClassVar[int]
    ISSUED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_SERIAL_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    node: str
    entry_id: str
    issued_after: _timestamp_pb2.Timestamp
    issued_before: _timestamp_pb2.Timestamp
    history: bool
    limit: int
    after_serial: str
    def __init__(self, spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., entry_id: _Optional[str] = ..., issued_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., issued_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., history: bool = ..., limit: _Optional[int] = ..., after_serial: _Optional[str] = ...) -> None: ...

class ListCertificatesResponse(_message.Message):
    __slots__ = ("certificates", "more")
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    certificates: _containers.RepeatedCompositeFieldContainer[Certificate]
    more: bool
    def __init__(self, certificates: _Optional[_Iterable[_Union[Certificate, _Mapping]]] = ..., more: bool = ...) -> None: ...

class GetCertificateRequest(_message.Message):
    __slots__ = ("serial",)
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    serial: str
    def __init__(self, serial: _Optional[str] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("spiffe_id", "name", "groups", "state", "connected", "enrolled_at", "svid_expires_at", "revocation_seq", "laggards", "heard_at", "attested_by", "attested_subject", "selectors")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_AT_FIELD_NUMBER: _ClassVar[int]
    SVID_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAGGARDS_FIELD_NUMBER: _ClassVar[int]
    HEARD_AT_FIELD_NUMBER: _ClassVar[int]
    ATTESTED_BY_FIELD_NUMBER: _ClassVar[int]
    ATTESTED_SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    name: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    state: str
    connected: bool
    enrolled_at: _timestamp_pb2.Timestamp
    svid_expires_at: _timestamp_pb2.Timestamp
    revocation_seq: int
    laggards: _containers.RepeatedScalarFieldContainer[str]
    heard_at: _timestamp_pb2.Timestamp
    attested_by: str
    attested_subject: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, spiffe_id: _Optional[str] = ..., name: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., connected: bool = ..., enrolled_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., svid_expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revocation_seq: _Optional[int] = ..., laggards: _Optional[_Iterable[str]] = ..., heard_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attested_by: _Optional[str] = ..., attested_subject: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class BanAgentRequest(_message.Message):
    __slots__ = ("agent", "reason")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    agent: str
    reason: str
    def __init__(self, agent: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("serial", "spiffe_id", "reason", "reissue", "note", "key", "id_prefix", "entry", "agent", "selector", "dry_run", "expect_count", "request_id", "authority")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REISSUE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    serial: str
    spiffe_id: str
    reason: str
    reissue: bool
    note: str
    key: str
    id_prefix: str
    entry: str
    agent: str
    selector: str
    dry_run: bool
    expect_count: int
    request_id: bytes
    authority: str
    def __init__(self, serial: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., reason: _Optional[str] = ..., reissue: bool = ..., note: _Optional[str] = ..., key: _Optional[str] = ..., id_prefix: _Optional[str] = ..., entry: _Optional[str] = ..., agent: _Optional[str] = ..., selector: _Optional[str] = ..., dry_run: bool = ..., expect_count: _Optional[int] = ..., request_id: _Optional[bytes] = ..., authority: _Optional[str] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("revocation_seq", "log_id", "certificates", "blocked", "token", "identities", "nodes", "dry_run", "examples", "expansion", "needs_count", "authority")
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    EXPANSION_FIELD_NUMBER: _ClassVar[int]
    NEEDS_COUNT_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    revocation_seq: int
    log_id: bytes
    certificates: int
    blocked: bool
    token: str
    identities: int
    nodes: int
    dry_run: bool
    examples: _containers.RepeatedScalarFieldContainer[str]
    expansion: int
    needs_count: bool
    authority: str
    def __init__(self, revocation_seq: _Optional[int] = ..., log_id: _Optional[bytes] = ..., certificates: _Optional[int] = ..., blocked: bool = ..., token: _Optional[str] = ..., identities: _Optional[int] = ..., nodes: _Optional[int] = ..., dry_run: bool = ..., examples: _Optional[_Iterable[str]] = ..., expansion: _Optional[int] = ..., needs_count: bool = ..., authority: _Optional[str] = ...) -> None: ...

class AuthorityRevocationRequest(_message.Message):
    __slots__ = ("authority", "step", "wait_ms")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    authority: str
    step: str
    wait_ms: int
    def __init__(self, authority: _Optional[str] = ..., step: _Optional[str] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class AuthorityRevocationResponse(_message.Message):
    __slots__ = ("authority", "step", "finished", "revocation_seq", "successor", "laggards", "away")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    LAGGARDS_FIELD_NUMBER: _ClassVar[int]
    AWAY_FIELD_NUMBER: _ClassVar[int]
    authority: str
    step: str
    finished: bool
    revocation_seq: int
    successor: str
    laggards: _containers.RepeatedScalarFieldContainer[str]
    away: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, authority: _Optional[str] = ..., step: _Optional[str] = ..., finished: bool = ..., revocation_seq: _Optional[int] = ..., successor: _Optional[str] = ..., laggards: _Optional[_Iterable[str]] = ..., away: _Optional[_Iterable[str]] = ...) -> None: ...

class ExpansionRequest(_message.Message):
    __slots__ = ("id", "wait_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    wait_ms: int
    def __init__(self, id: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class ExpansionResponse(_message.Message):
    __slots__ = ("id", "target", "revoked", "finished", "revocation_seq")
    ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    id: int
    target: str
    revoked: int
    finished: bool
    revocation_seq: int
    def __init__(self, id: _Optional[int] = ..., target: _Optional[str] = ..., revoked: _Optional[int] = ..., finished: bool = ..., revocation_seq: _Optional[int] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("id", "kind", "subject", "reporter", "found_at", "revocation_seq", "accepted_at", "accepted_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    REPORTER_FIELD_NUMBER: _ClassVar[int]
    FOUND_AT_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_BY_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: str
    subject: str
    reporter: str
    found_at: _timestamp_pb2.Timestamp
    revocation_seq: int
    accepted_at: _timestamp_pb2.Timestamp
    accepted_by: str
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[str] = ..., subject: _Optional[str] = ..., reporter: _Optional[str] = ..., found_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revocation_seq: _Optional[int] = ..., accepted_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., accepted_by: _Optional[str] = ...) -> None: ...

class ListFindingsRequest(_message.Message):
    __slots__ = ("all", "after_id", "limit")
    ALL_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    all: bool
    after_id: int
    limit: int
    def __init__(self, all: bool = ..., after_id: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListFindingsResponse(_message.Message):
    __slots__ = ("findings", "more")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    more: bool
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., more: bool = ...) -> None: ...

class AcceptFindingRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class UnblockRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: str
    def __init__(self, target: _Optional[str] = ...) -> None: ...

class UnblockResponse(_message.Message):
    __slots__ = ("blocks",)
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    def __init__(self, blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("target", "since", "actor", "revocation_seq")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    target: str
    since: _timestamp_pb2.Timestamp
    actor: str
    revocation_seq: int
    def __init__(self, target: _Optional[str] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., revocation_seq: _Optional[int] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("seq", "target", "reason", "blocks", "actor", "note", "revoked_at", "alive_until")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    ALIVE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    seq: int
    target: str
    reason: str
    blocks: bool
    actor: str
    note: str
    revoked_at: _timestamp_pb2.Timestamp
    alive_until: _timestamp_pb2.Timestamp
    def __init__(self, seq: _Optional[int] = ..., target: _Optional[str] = ..., reason: _Optional[str] = ..., blocks: bool = ..., actor: _Optional[str] = ..., note: _Optional[str] = ..., revoked_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., alive_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ("all", "after_seq", "limit")
    ALL_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    all: bool
    after_seq: int
    limit: int
    def __init__(self, all: bool = ..., after_seq: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("revocations", "blocks", "revocation_seq", "more")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    revocation_seq: int
    more: bool
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., revocation_seq: _Optional[int] = ..., more: bool = ...) -> None: ...

class PropagationRequest(_message.Message):
    __slots__ = ("revocation_seq", "wait_ms")
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    revocation_seq: int
    wait_ms: int
    def __init__(self, revocation_seq: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class PropagationResponse(_message.Message):
    __slots__ = ("peers", "applied", "laggards")
    PEERS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    LAGGARDS_FIELD_NUMBER: _ClassVar[int]
    peers: int
    applied: int
    laggards: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, peers: _Optional[int] = ..., applied: _Optional[int] = ..., laggards: _Optional[_Iterable[str]] = ...) -> None: ...

class GetBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBundleResponse(_message.Message):
    __slots__ = ("trust_domain", "roots", "sequence", "digest")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    sequence: int
    digest: str
    def __init__(self, trust_domain: _Optional[str] = ..., roots: _Optional[_Iterable[bytes]] = ..., sequence: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class CheckHealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckHealthResponse(_message.Message):
    __slots__ = ("healthy", "checks")
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    healthy: bool
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    def __init__(self, healthy: bool = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "healthy", "detail", "milliseconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    healthy: bool
    detail: str
    milliseconds: float
    def __init__(self, name: _Optional[str] = ..., healthy: bool = ..., detail: _Optional[str] = ..., milliseconds: _Optional[float] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("trust_domain", "log_id", "started_at", "bootstrap_address", "api_address", "authorities", "agents_connected", "agents", "entries", "certificates_issued", "revocation_seq", "alarms", "data_dir", "version", "crl_address", "write_problem")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    API_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    AGENTS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_ISSUED_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    DATA_DIR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CRL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WRITE_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    log_id: str
    started_at: _timestamp_pb2.Timestamp
    bootstrap_address: str
    api_address: str
    authorities: _containers.RepeatedCompositeFieldContainer[AuthorityStatus]
    agents_connected: int
    agents: int
    entries: int
    certificates_issued: int
    revocation_seq: int
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    data_dir: str
    version: str
    crl_address: str
    write_problem: str
    def __init__(self, trust_domain: _Optional[str] = ..., log_id: _Optional[str] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., bootstrap_address: _Optional[str] = ..., api_address: _Optional[str] = ..., authorities: _Optional[_Iterable[_Union[AuthorityStatus, _Mapping]]] = ..., agents_connected: _Optional[int] = ..., agents: _Optional[int] = ..., entries: _Optional[int] = ..., certificates_issued: _Optional[int] = ..., revocation_seq: _Optional[int] = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., data_dir: _Optional[str] = ..., version: _Optional[str] = ..., crl_address: _Optional[str] = ..., write_problem: _Optional[str] = ...) -> None: ...

class AuthorityStatus(_message.Message):
    __slots__ = ("id", "kind", "state", "not_after", "crl_next_update", "prepare_at", "activate_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    CRL_NEXT_UPDATE_FIELD_NUMBER: _ClassVar[int]
    PREPARE_AT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    state: str
    not_after: _timestamp_pb2.Timestamp
    crl_next_update: _timestamp_pb2.Timestamp
    prepare_at: _timestamp_pb2.Timestamp
    activate_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[str] = ..., not_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., crl_next_update: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., prepare_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., activate_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AuditRow(_message.Message):
    __slots__ = ("id", "at", "actor", "action", "subject", "detail", "origin", "count")
    ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    id: int
    at: _timestamp_pb2.Timestamp
    actor: str
    action: str
    subject: str
    detail: str
    origin: str
    count: int
    def __init__(self, id: _Optional[int] = ..., at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., subject: _Optional[str] = ..., detail: _Optional[str] = ..., origin: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("after_id", "limit", "wait_ms", "action", "newest")
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    after_id: int
    limit: int
    wait_ms: int
    action: str
    newest: bool
    def __init__(self, after_id: _Optional[int] = ..., limit: _Optional[int] = ..., wait_ms: _Optional[int] = ..., action: _Optional[str] = ..., newest: bool = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[AuditRow]
    def __init__(self, rows: _Optional[_Iterable[_Union[AuditRow, _Mapping]]] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("id", "kind", "subject", "message", "opened_at", "acknowledged_at", "acknowledged_by", "count")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_AT_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_BY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: str
    subject: str
    message: str
    opened_at: _timestamp_pb2.Timestamp
    acknowledged_at: _timestamp_pb2.Timestamp
    acknowledged_by: str
    count: int
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[str] = ..., subject: _Optional[str] = ..., message: _Optional[str] = ..., opened_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., acknowledged_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., acknowledged_by: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListAlarmsRequest(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: bool
    def __init__(self, all: bool = ...) -> None: ...

class ListAlarmsResponse(_message.Message):
    __slots__ = ("alarms",)
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    def __init__(self, alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ...) -> None: ...

class AcknowledgeAlarmRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class BackupRequest(_message.Message):
    __slots__ = ("path", "passphrase")
    PATH_FIELD_NUMBER: _ClassVar[int]
    PASSPHRASE_FIELD_NUMBER: _ClassVar[int]
    path: str
    passphrase: bytes
    def __init__(self, path: _Optional[str] = ..., passphrase: _Optional[bytes] = ...) -> None: ...

class BackupResponse(_message.Message):
    __slots__ = ("path", "size_bytes", "with_keys")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WITH_KEYS_FIELD_NUMBER: _ClassVar[int]
    path: str
    size_bytes: int
    with_keys: bool
    def __init__(self, path: _Optional[str] = ..., size_bytes: _Optional[int] = ..., with_keys: bool = ...) -> None: ...
