"""HTTP for small read-only services: CRLs, metrics, nginx's `auth_request`. h11 does the grammar and the framing; it
comes with the extra `cli` and is loaded by `http_server` and `conversation` alone. The signer may not come near."""
