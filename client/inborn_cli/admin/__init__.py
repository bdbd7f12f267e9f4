"""Verbs of an admin: entries, tokens, certificates, revocations, the state of the CA."""
