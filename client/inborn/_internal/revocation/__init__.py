"""Revocations as peers know them: the rules that travel, the set that is enforced. Pure."""
