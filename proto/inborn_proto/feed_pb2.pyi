from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeedMessage(_message.Message):
    __slots__ = ("body", "signature", "log_chain")
    BODY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    LOG_CHAIN_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    signature: bytes
    log_chain: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, body: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., log_chain: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FeedBody(_message.Message):
    __slots__ = ("trust_domain", "log_id", "node", "revision", "previous", "made_at_ms", "domain", "node_update", "heartbeat")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    MADE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NODE_UPDATE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    log_id: bytes
    node: str
    revision: int
    previous: int
    made_at_ms: int
    domain: DomainUpdate
    node_update: NodeUpdate
    heartbeat: Heartbeat
    def __init__(self, trust_domain: _Optional[str] = ..., log_id: _Optional[bytes] = ..., node: _Optional[str] = ..., revision: _Optional[int] = ..., previous: _Optional[int] = ..., made_at_ms: _Optional[int] = ..., domain: _Optional[_Union[DomainUpdate, _Mapping]] = ..., node_update: _Optional[_Union[NodeUpdate, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("revocation_seq", "interval_ms")
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    revocation_seq: int
    interval_ms: int
    def __init__(self, revocation_seq: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class DomainUpdate(_message.Message):
    __slots__ = ("snapshot", "roots", "authorities", "revocations", "dropped", "revocation_seq", "serials", "snapshot_id", "part", "more")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    snapshot: bool
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    authorities: _containers.RepeatedCompositeFieldContainer[AuthorityState]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    dropped: _containers.RepeatedScalarFieldContainer[int]
    revocation_seq: int
    serials: PackedSerials
    snapshot_id: bytes
    part: int
    more: bool
    def __init__(self, snapshot: bool = ..., roots: _Optional[_Iterable[bytes]] = ..., authorities: _Optional[_Iterable[_Union[AuthorityState, _Mapping]]] = ..., revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., dropped: _Optional[_Iterable[int]] = ..., revocation_seq: _Optional[int] = ..., serials: _Optional[_Union[PackedSerials, _Mapping]] = ..., snapshot_id: _Optional[bytes] = ..., part: _Optional[int] = ..., more: bool = ...) -> None: ...

class PackedSerials(_message.Message):
    __slots__ = ("authorities", "records")
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    authorities: _containers.RepeatedScalarFieldContainer[bytes]
    records: bytes
    def __init__(self, authorities: _Optional[_Iterable[bytes]] = ..., records: _Optional[bytes] = ...) -> None: ...

class AuthorityState(_message.Message):
    __slots__ = ("certificate", "state", "crl")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[AuthorityState.State]
        ROOT: _ClassVar[AuthorityState.State]
        PREPARED: _ClassVar[AuthorityState.State]
        ACTIVE: _ClassVar[AuthorityState.State]
        RETIRED: _ClassVar[AuthorityState.State]
        TAINTED: _ClassVar[AuthorityState.State]
        REVOKED: _ClassVar[AuthorityState.State]
    STATE_UNSPECIFIED: AuthorityState.State
    ROOT: AuthorityState.State
    PREPARED: AuthorityState.State
    ACTIVE: AuthorityState.State
    RETIRED: AuthorityState.State
    TAINTED: AuthorityState.State
    REVOKED: AuthorityState.State
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CRL_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    state: AuthorityState.State
    crl: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., state: _Optional[_Union[AuthorityState.State, str]] = ..., crl: _Optional[bytes] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("seq", "kind", "value", "cut_offs", "reason", "blocks", "revoked_at_ms")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Revocation.Kind]
        SERIAL: _ClassVar[Revocation.Kind]
        KEY: _ClassVar[Revocation.Kind]
        SPIFFE_ID: _ClassVar[Revocation.Kind]
        ID_PREFIX: _ClassVar[Revocation.Kind]
        AUTHORITY: _ClassVar[Revocation.Kind]
    KIND_UNSPECIFIED: Revocation.Kind
    SERIAL: Revocation.Kind
    KEY: Revocation.Kind
    SPIFFE_ID: Revocation.Kind
    ID_PREFIX: Revocation.Kind
    AUTHORITY: Revocation.Kind
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CUT_OFFS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    kind: Revocation.Kind
    value: bytes
    cut_offs: _containers.RepeatedCompositeFieldContainer[CutOff]
    reason: int
    blocks: bool
    revoked_at_ms: int
    def __init__(self, seq: _Optional[int] = ..., kind: _Optional[_Union[Revocation.Kind, str]] = ..., value: _Optional[bytes] = ..., cut_offs: _Optional[_Iterable[_Union[CutOff, _Mapping]]] = ..., reason: _Optional[int] = ..., blocks: bool = ..., revoked_at_ms: _Optional[int] = ...) -> None: ...

class CutOff(_message.Message):
    __slots__ = ("authority", "serial")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    authority: bytes
    serial: bytes
    def __init__(self, authority: _Optional[bytes] = ..., serial: _Optional[bytes] = ...) -> None: ...

class NodeUpdate(_message.Message):
    __slots__ = ("snapshot", "entries", "removed")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    snapshot: bool
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, snapshot: bool = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "spiffe_id", "selectors", "ttl_seconds", "hint", "revision", "demands", "revoke_when_lost")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    REVOKE_WHEN_LOST_FIELD_NUMBER: _ClassVar[int]
    id: str
    spiffe_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    ttl_seconds: int
    hint: str
    revision: int
    demands: _containers.RepeatedScalarFieldContainer[str]
    revoke_when_lost: bool
    def __init__(self, id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., ttl_seconds: _Optional[int] = ..., hint: _Optional[str] = ..., revision: _Optional[int] = ..., demands: _Optional[_Iterable[str]] = ..., revoke_when_lost: bool = ...) -> None: ...
