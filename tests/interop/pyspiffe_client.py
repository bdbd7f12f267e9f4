"""What a Python service does with py-spiffe, in a process of its own: its wire classes and ours have the same names.

The test reads one JSON document a line; the program ends when standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from spiffe import WorkloadApiClient, X509Source
from spiffe.errors import PySpiffeError

PATIENCE = 30.0  # seconds

_output = threading.Lock()


def say(event: str, **fields: Any) -> None:
    with _output:
        print(json.dumps({"event": event, **fields}), flush=True)


def fetch() -> None:
    """Ask once, without a source's retries."""
    with WorkloadApiClient() as client:
        context = client.fetch_x509_context(timeout=PATIENCE)
        say("context", ids=[str(svid.spiffe_id) for svid in context.x509_svids])


def bundles() -> None:
    with WorkloadApiClient() as client:
        for bundle in client.fetch_x509_bundles(timeout=PATIENCE).bundles:
            say("bundle", trust_domain=bundle.trust_domain.name, authorities=len(bundle.x509_authorities))


def watch() -> None:
    with X509Source(timeout_in_seconds=PATIENCE) as source:

        def report() -> None:
            context = source.get_x509_context()
            svid = context.default_svid
            bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            issuing = svid.cert_chain[1]
            for root in bundle.x509_authorities if bundle else ():
                issuing.verify_directly_issued_by(root)
            svid.leaf.verify_directly_issued_by(issuing)
            say("svid", id=str(svid.spiffe_id), serial=f"{svid.leaf.serial_number:x}", closed=source.is_closed())

        report()
        source.subscribe_for_updates(report)
        sys.stdin.read()
        say("end", closed=source.is_closed())


if __name__ == "__main__":
    try:
        {"fetch": fetch, "bundles": bundles, "watch": watch}[sys.argv[1]]()
    except PySpiffeError as error:
        say("error", error=str(error))
        sys.exit(1)
