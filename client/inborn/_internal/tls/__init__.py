"""TLS with a live identity: contexts, verified peers, open connections, the tunnel."""
