from inborn_proto import feed_pb2 as _feed_pb2
from inborn_proto import signed_pb2 as _signed_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBundleResponse(_message.Message):
    __slots__ = ("trust_domain", "roots", "api_address", "log_id")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    API_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    api_address: str
    log_id: bytes
    def __init__(self, trust_domain: _Optional[str] = ..., roots: _Optional[_Iterable[bytes]] = ..., api_address: _Optional[str] = ..., log_id: _Optional[bytes] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ("kind", "key_hash")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_HASH_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key_hash: bytes
    def __init__(self, kind: _Optional[str] = ..., key_hash: _Optional[bytes] = ...) -> None: ...

class ChallengeResponse(_message.Message):
    __slots__ = ("challenge",)
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    challenge: bytes
    def __init__(self, challenge: _Optional[bytes] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("body", "proof")
    BODY_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    proof: bytes
    def __init__(self, body: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class EnrollBody(_message.Message):
    __slots__ = ("trust_domain", "csr", "kind", "evidence", "challenge")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    csr: bytes
    kind: str
    evidence: bytes
    challenge: bytes
    def __init__(self, trust_domain: _Optional[str] = ..., csr: _Optional[bytes] = ..., kind: _Optional[str] = ..., evidence: _Optional[bytes] = ..., challenge: _Optional[bytes] = ...) -> None: ...

class X509PopEvidence(_message.Message):
    __slots__ = ("chain", "nonce")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    nonce: bytes
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("chain", "spiffe_id", "log_id", "roots")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    spiffe_id: str
    log_id: bytes
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., spiffe_id: _Optional[str] = ..., log_id: _Optional[bytes] = ..., roots: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class RevokeOwnRequest(_message.Message):
    __slots__ = ("serials", "reason", "note")
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    serials: _containers.RepeatedScalarFieldContainer[bytes]
    reason: int
    note: str
    def __init__(self, serials: _Optional[_Iterable[bytes]] = ..., reason: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...

class RevokeOwnResponse(_message.Message):
    __slots__ = ("revocation_seq", "revoked")
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    revocation_seq: int
    revoked: int
    def __init__(self, revocation_seq: _Optional[int] = ..., revoked: _Optional[int] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("former_log_id", "revocations", "chain")
    FORMER_LOG_ID_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    former_log_id: bytes
    revocations: _containers.RepeatedCompositeFieldContainer[_feed_pb2.Revocation]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, former_log_id: _Optional[bytes] = ..., revocations: _Optional[_Iterable[_Union[_feed_pb2.Revocation, _Mapping]]] = ..., chain: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("revocations", "certificates", "revocation_seq", "unknown")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    revocations: int
    certificates: int
    revocation_seq: int
    unknown: bool
    def __init__(self, revocations: _Optional[int] = ..., certificates: _Optional[int] = ..., revocation_seq: _Optional[int] = ..., unknown: bool = ...) -> None: ...

class IssueRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[IssueItem]
    def __init__(self, items: _Optional[_Iterable[_Union[IssueItem, _Mapping]]] = ...) -> None: ...

class IssueItem(_message.Message):
    __slots__ = ("entry_id", "csr", "selectors")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    csr: bytes
    selectors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, entry_id: _Optional[str] = ..., csr: _Optional[bytes] = ..., selectors: _Optional[_Iterable[str]] = ...) -> None: ...

class IssueResponse(_message.Message):
    __slots__ = ("results", "issuer")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[IssueResult]
    issuer: bytes
    def __init__(self, results: _Optional[_Iterable[_Union[IssueResult, _Mapping]]] = ..., issuer: _Optional[bytes] = ...) -> None: ...

class IssueResult(_message.Message):
    __slots__ = ("leaf", "error")
    LEAF_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    leaf: bytes
    error: _signed_pb2.Error
    def __init__(self, leaf: _Optional[bytes] = ..., error: _Optional[_Union[_signed_pb2.Error, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("hello", "ack")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    hello: WatchHello
    ack: WatchAck
    def __init__(self, hello: _Optional[_Union[WatchHello, _Mapping]] = ..., ack: _Optional[_Union[WatchAck, _Mapping]] = ...) -> None: ...

class WatchHello(_message.Message):
    __slots__ = ("log_id", "domain_revision")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    log_id: bytes
    domain_revision: int
    def __init__(self, log_id: _Optional[bytes] = ..., domain_revision: _Optional[int] = ...) -> None: ...

class WatchAck(_message.Message):
    __slots__ = ("domain_revision", "revocation_seq", "laggards", "log_id", "outdated")
    DOMAIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAGGARDS_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    OUTDATED_FIELD_NUMBER: _ClassVar[int]
    domain_revision: int
    revocation_seq: int
    laggards: _containers.RepeatedScalarFieldContainer[str]
    log_id: bytes
    outdated: int
    def __init__(self, domain_revision: _Optional[int] = ..., revocation_seq: _Optional[int] = ..., laggards: _Optional[_Iterable[str]] = ..., log_id: _Optional[bytes] = ..., outdated: _Optional[int] = ...) -> None: ...
