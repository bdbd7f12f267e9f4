"""The node agent: attests workloads and serves them their identities (Linux only)."""
