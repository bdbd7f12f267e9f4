"""The certificate authority (Linux only)."""
