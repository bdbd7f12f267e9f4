from inborn_proto import feed_pb2 as _feed_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttendRequest(_message.Message):
    __slots__ = ("log_id", "revocation_seq")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    log_id: bytes
    revocation_seq: int
    def __init__(self, log_id: _Optional[bytes] = ..., revocation_seq: _Optional[int] = ...) -> None: ...

class AttendResponse(_message.Message):
    __slots__ = ("identities", "revocations", "freshness")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    identities: Identities
    revocations: Revocations
    freshness: Freshness
    def __init__(self, identities: _Optional[_Union[Identities, _Mapping]] = ..., revocations: _Optional[_Union[Revocations, _Mapping]] = ..., freshness: _Optional[_Union[Freshness, _Mapping]] = ...) -> None: ...

class Identities(_message.Message):
    __slots__ = ("identities", "bundles", "crls", "trust_domain", "reason", "pending")
    class BundlesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    CRLS_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[Identity]
    bundles: _containers.ScalarMap[str, bytes]
    crls: _containers.RepeatedScalarFieldContainer[bytes]
    trust_domain: str
    reason: str
    pending: bool
    def __init__(self, identities: _Optional[_Iterable[_Union[Identity, _Mapping]]] = ..., bundles: _Optional[_Mapping[str, bytes]] = ..., crls: _Optional[_Iterable[bytes]] = ..., trust_domain: _Optional[str] = ..., reason: _Optional[str] = ..., pending: bool = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("spiffe_id", "chain", "key", "hint")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    chain: bytes
    key: bytes
    hint: str
    def __init__(self, spiffe_id: _Optional[str] = ..., chain: _Optional[bytes] = ..., key: _Optional[bytes] = ..., hint: _Optional[str] = ...) -> None: ...

class Revocations(_message.Message):
    __slots__ = ("log_id", "revocation_seq", "snapshot", "revocations", "dropped", "serials", "more")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    log_id: bytes
    revocation_seq: int
    snapshot: bool
    revocations: _containers.RepeatedCompositeFieldContainer[_feed_pb2.Revocation]
    dropped: _containers.RepeatedScalarFieldContainer[int]
    serials: _feed_pb2.PackedSerials
    more: bool
    def __init__(self, log_id: _Optional[bytes] = ..., revocation_seq: _Optional[int] = ..., snapshot: bool = ..., revocations: _Optional[_Iterable[_Union[_feed_pb2.Revocation, _Mapping]]] = ..., dropped: _Optional[_Iterable[int]] = ..., serials: _Optional[_Union[_feed_pb2.PackedSerials, _Mapping]] = ..., more: bool = ...) -> None: ...

class Freshness(_message.Message):
    __slots__ = ("age_ms",)
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    age_ms: int
    def __init__(self, age_ms: _Optional[int] = ...) -> None: ...

class WhyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhyProcessRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class WhyResponse(_message.Message):
    __slots__ = ("pid", "selectors", "hints", "entries", "pinned_by")
    PID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PINNED_BY_FIELD_NUMBER: _ClassVar[int]
    pid: int
    selectors: _containers.RepeatedScalarFieldContainer[str]
    hints: _containers.RepeatedScalarFieldContainer[str]
    entries: _containers.RepeatedCompositeFieldContainer[EntryVerdict]
    pinned_by: str
    def __init__(self, pid: _Optional[int] = ..., selectors: _Optional[_Iterable[str]] = ..., hints: _Optional[_Iterable[str]] = ..., entries: _Optional[_Iterable[_Union[EntryVerdict, _Mapping]]] = ..., pinned_by: _Optional[str] = ...) -> None: ...

class EntryVerdict(_message.Message):
    __slots__ = ("entry_id", "spiffe_id", "missing", "unmet")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    UNMET_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    spiffe_id: str
    missing: _containers.RepeatedScalarFieldContainer[str]
    unmet: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, entry_id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., missing: _Optional[_Iterable[str]] = ..., unmet: _Optional[_Iterable[str]] = ...) -> None: ...

class AgentStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("spiffe_id", "svid_expires_ms", "connected", "last_heard_ms", "revocation_seq", "entries", "cached_svids", "connections", "pinned_by", "started_ms", "ca_address", "alarms")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SVID_EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CACHED_SVIDS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    PINNED_BY_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    CA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    svid_expires_ms: int
    connected: bool
    last_heard_ms: int
    revocation_seq: int
    entries: int
    cached_svids: int
    connections: int
    pinned_by: str
    started_ms: int
    ca_address: str
    alarms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, spiffe_id: _Optional[str] = ..., svid_expires_ms: _Optional[int] = ..., connected: bool = ..., last_heard_ms: _Optional[int] = ..., revocation_seq: _Optional[int] = ..., entries: _Optional[int] = ..., cached_svids: _Optional[int] = ..., connections: _Optional[int] = ..., pinned_by: _Optional[str] = ..., started_ms: _Optional[int] = ..., ca_address: _Optional[str] = ..., alarms: _Optional[_Iterable[str]] = ...) -> None: ...
