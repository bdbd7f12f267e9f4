"""Credentials of gRPC servers that follow an identity: each handshake presents what holds now.

gRPC frees a configuration while handshakes in other threads may be about to use it (seen with grpcio 1.85: with a new
one for every handshake, some hundreds of connections at once end the process with signal 11). So it is given a new one
only where something has changed, and the change waits until those handshakes have got on.

Within one configuration sessions can be resumed: gRPC's servers hand out tickets, and there is no switch for that. A
resumed session brings the certificate of the first handshake along, so whoever uses these credentials verifies the
caller of each call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc

from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn._internal.spiffe.x509_svid import X509Svid

__all__ = ["Presented", "following_credentials"]

log = logging.getLogger(__name__)

_CHANGE_WAIT = 0.05  # seconds, at a rotation: a handshake that has read the old configuration needs microseconds

Presented = tuple[X509Svid, tuple[X509Bundle, ...]]
"""Who presents itself, and the bundles that certificates of clients may lead to."""


def following_credentials(present: Callable[[], Presented], *, is_mutual: bool) -> grpc.ServerCredentials:
    """For one port only. `is_mutual`: every client has to have a certificate.

    `present` is called at each handshake, in threads of gRPC's. What it raises here is raised; what it raises later is
    logged, and the handshake goes on with what was presented before.
    """

    def configuration(svid: X509Svid, bundles: tuple[X509Bundle, ...]) -> grpc.ServerCertificateConfiguration:
        roots = b"".join(bundle.pem() for bundle in bundles) if is_mutual else None
        return grpc.ssl_server_certificate_configuration([(svid.key_pem(), svid.chain_pem())], roots)

    svid, bundles = present()
    given = svid.chain, bundles

    def change() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        svid, bundles = present()
        if (svid.chain, bundles) == given:
            return None
        threading.Event().wait(_CHANGE_WAIT)  # not `sleep`: libfaketime makes that one raise
        new = configuration(svid, bundles)
        given = svid.chain, bundles
        return new

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        try:
            return change()
        except Exception as e:  # nobody else would say so
            log.warning("no identity to present reason=%s", e)
            return None

    fetcher: Any = fetch  # gRPC's documentation allows None, its type does not
    return grpc.dynamic_ssl_server_credentials(
        configuration(svid, bundles), fetcher, require_client_authentication=is_mutual
    )
