"""Do the front's own ports answer? Asked from outside, over TLS, as a stranger would."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization

from inborn._internal.address import Address
from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_proto import signer_pb2

__all__ = ["probe"]

TIMEOUT = 5.0  # seconds for connect and handshake on the own machine


async def probe(ports: Mapping[str, Address], svid: X509Svid, roots_pem: bytes) -> signer_pb2.ProbeResponse:
    """Do a TLS handshake with each port by name, and look at the certificate that it shows."""
    results = await asyncio.gather(*(_problem(address, svid, roots_pem) for address in ports.values()))
    return signer_pb2.ProbeResponse(
        ports=[
            signer_pb2.PortHealth(name=name, address=str(address), healthy=not problem, problem=problem)
            for (name, address), problem in zip(ports.items(), results, strict=True)
        ]
    )


async def _problem(address: Address, svid: X509Svid, roots_pem: bytes) -> str:
    """What is wrong, in one line, or nothing. The server's chain must lead to our roots and its leaf be our own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the leaf is compared as a whole
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=roots_pem.decode())
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(address.dial_host, address.port, ssl=context)
    except TimeoutError:
        return f"no TLS handshake within {TIMEOUT:g} s"
    except (OSError, ssl.SSLError) as e:
        return " ".join(str(e).split())[:200] or type(e).__name__
    tls = writer.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True)
    writer.transport.abort()  # the API port would wait for a client certificate
    if shown != svid.leaf.public_bytes(serialization.Encoding.DER):
        return "port shows another certificate than the front's"
    return ""
