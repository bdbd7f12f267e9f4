from inborn_proto import ca_pb2 as _ca_pb2
from inborn_proto import feed_pb2 as _feed_pb2
from inborn_proto import signed_pb2 as _signed_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("id", "method", "body", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    method: str
    body: bytes
    error: _signed_pb2.Error
    def __init__(self, id: _Optional[int] = ..., method: _Optional[str] = ..., body: _Optional[bytes] = ..., error: _Optional[_Union[_signed_pb2.Error, _Mapping]] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("bootstrap_address", "api_address", "crl_address")
    BOOTSTRAP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    API_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CRL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    bootstrap_address: str
    api_address: str
    crl_address: str
    def __init__(self, bootstrap_address: _Optional[str] = ..., api_address: _Optional[str] = ..., crl_address: _Optional[str] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("trust_domain", "log_id", "roots")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    log_id: bytes
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, trust_domain: _Optional[str] = ..., log_id: _Optional[bytes] = ..., roots: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ForwardedEnroll(_message.Message):
    __slots__ = ("request", "origin")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    request: _ca_pb2.EnrollRequest
    origin: str
    def __init__(self, request: _Optional[_Union[_ca_pb2.EnrollRequest, _Mapping]] = ..., origin: _Optional[str] = ...) -> None: ...

class ForwardedRequest(_message.Message):
    __slots__ = ("request", "origin")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    request: _signed_pb2.SignedRequest
    origin: str
    def __init__(self, request: _Optional[_Union[_signed_pb2.SignedRequest, _Mapping]] = ..., origin: _Optional[str] = ...) -> None: ...

class CertifyFrontRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class CertifyFrontResponse(_message.Message):
    __slots__ = ("chain",)
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DomainSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id", "part")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: bytes
    part: int
    def __init__(self, snapshot_id: _Optional[bytes] = ..., part: _Optional[int] = ...) -> None: ...

class NodeFeedRequest(_message.Message):
    __slots__ = ("spiffe_id",)
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    def __init__(self, spiffe_id: _Optional[str] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("spiffe_id", "ack")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    ack: _ca_pb2.WatchAck
    def __init__(self, spiffe_id: _Optional[str] = ..., ack: _Optional[_Union[_ca_pb2.WatchAck, _Mapping]] = ...) -> None: ...

class Acknowledgements(_message.Message):
    __slots__ = ("acknowledgements",)
    ACKNOWLEDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    acknowledgements: _containers.RepeatedCompositeFieldContainer[Acknowledgement]
    def __init__(self, acknowledgements: _Optional[_Iterable[_Union[Acknowledgement, _Mapping]]] = ...) -> None: ...

class DenialReport(_message.Message):
    __slots__ = ("spiffe_id", "method", "kind", "message", "origin")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    method: str
    kind: str
    message: str
    origin: str
    def __init__(self, spiffe_id: _Optional[str] = ..., method: _Optional[str] = ..., kind: _Optional[str] = ..., message: _Optional[str] = ..., origin: _Optional[str] = ...) -> None: ...

class Publication(_message.Message):
    __slots__ = ("node", "message")
    NODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    node: str
    message: _feed_pb2.FeedMessage
    def __init__(self, node: _Optional[str] = ..., message: _Optional[_Union[_feed_pb2.FeedMessage, _Mapping]] = ...) -> None: ...

class MeasureRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Measures(_message.Message):
    __slots__ = ("open_alarms", "certificates_issued", "oldest_revocation_seq", "root_expires", "issuing_expires", "crl_expires", "groups", "jobs", "waiting", "database_bytes")
    OPEN_ALARMS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_ISSUED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_REVOCATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    ROOT_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    ISSUING_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    CRL_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    DATABASE_BYTES_FIELD_NUMBER: _ClassVar[int]
    open_alarms: int
    certificates_issued: int
    oldest_revocation_seq: int
    root_expires: float
    issuing_expires: float
    crl_expires: float
    groups: int
    jobs: int
    waiting: int
    database_bytes: int
    def __init__(self, open_alarms: _Optional[int] = ..., certificates_issued: _Optional[int] = ..., oldest_revocation_seq: _Optional[int] = ..., root_expires: _Optional[float] = ..., issuing_expires: _Optional[float] = ..., crl_expires: _Optional[float] = ..., groups: _Optional[int] = ..., jobs: _Optional[int] = ..., waiting: _Optional[int] = ..., database_bytes: _Optional[int] = ...) -> None: ...

class RenewFrontRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProbeResponse(_message.Message):
    __slots__ = ("ports",)
    PORTS_FIELD_NUMBER: _ClassVar[int]
    ports: _containers.RepeatedCompositeFieldContainer[PortHealth]
    def __init__(self, ports: _Optional[_Iterable[_Union[PortHealth, _Mapping]]] = ...) -> None: ...

class PortHealth(_message.Message):
    __slots__ = ("name", "address", "healthy", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    healthy: bool
    problem: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., healthy: bool = ..., problem: _Optional[str] = ...) -> None: ...
