"""Revocations as peers know them: the revocations that travel, the set that is enforced. Pure."""
