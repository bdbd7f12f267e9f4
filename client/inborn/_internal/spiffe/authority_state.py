"""The states that an X.509 authority goes through, for CA, agent and library alike."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["AuthorityState"]


class AuthorityState(StrEnum):
    """The wire has the same names; the database has the values."""

    ROOT = "root"
    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRED = "retired"
    TAINTED = "tainted"
    REVOKED = "revoked"

    @property
    def is_bad(self) -> bool:
        """Whether everything that the authority signed is to be renewed at once."""
        return self in (AuthorityState.TAINTED, AuthorityState.REVOKED)
