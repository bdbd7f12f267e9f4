"""The SPIFFE Workload API, from a descriptor pool of its own.

SPIFFE's messages have no package, so their names are global: two libraries that both register them in protobuf's
default pool cannot live in one process. These stay in a private pool and only their bytes meet anybody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

from inborn_proto.workload_descriptor import FILE_DESCRIPTOR_SET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence

    from google.protobuf.message import Message

    class X509SVIDRequest(Message): ...

    class X509SVID(Message):
        spiffe_id: str
        x509_svid: bytes
        x509_svid_key: bytes
        bundle: bytes
        hint: str

        def __init__(
            self,
            *,
            spiffe_id: str = ...,
            x509_svid: bytes = ...,
            x509_svid_key: bytes = ...,
            bundle: bytes = ...,
            hint: str = ...,
        ) -> None: ...

    class X509SVIDResponse(Message):
        svids: MutableSequence[X509SVID]
        crl: MutableSequence[bytes]
        federated_bundles: MutableMapping[str, bytes]

        def __init__(
            self,
            *,
            svids: Iterable[X509SVID] = ...,
            crl: Iterable[bytes] = ...,
            federated_bundles: Mapping[str, bytes] = ...,
        ) -> None: ...

    class X509BundlesRequest(Message): ...

    class X509BundlesResponse(Message):
        crl: MutableSequence[bytes]
        bundles: MutableMapping[str, bytes]

        def __init__(self, *, crl: Iterable[bytes] = ..., bundles: Mapping[str, bytes] = ...) -> None: ...


__all__ = [
    "SERVICE",
    "X509SVID",
    "X509BundlesRequest",
    "X509BundlesResponse",
    "X509SVIDRequest",
    "X509SVIDResponse",
]

_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(FILE_DESCRIPTOR_SET).file:
    _pool.AddSerializedFile(_file.SerializeToString())

SERVICE: ServiceDescriptor = _pool.FindServiceByName("SpiffeWorkloadAPI")
"""What a server is made from; its methods are called /SpiffeWorkloadAPI/<name>."""

if not TYPE_CHECKING:
    X509SVIDRequest = message_factory.GetMessageClass(_pool.FindMessageTypeByName("X509SVIDRequest"))
    X509SVID = message_factory.GetMessageClass(_pool.FindMessageTypeByName("X509SVID"))
    X509SVIDResponse = message_factory.GetMessageClass(_pool.FindMessageTypeByName("X509SVIDResponse"))
    X509BundlesRequest = message_factory.GetMessageClass(_pool.FindMessageTypeByName("X509BundlesRequest"))
    X509BundlesResponse = message_factory.GetMessageClass(_pool.FindMessageTypeByName("X509BundlesResponse"))
