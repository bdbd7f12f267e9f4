"""Why something is revoked: CRLReason by name and number (RFC 5280 5.3.1). The one table of the program (pure).

Used by the command (names), the signer (names from admins, numbers from agents and daemons) and its CRLs (numbers).
"""

from __future__ import annotations

from inborn.errors import RequestError

__all__ = [
    "AUTHORITY_REASONS",
    "KEY_COMPROMISE",
    "LEAF_REASONS",
    "PRIVILEGE_WITHDRAWN",
    "SUPERSEDED",
    "UNSPECIFIED",
    "is_reason",
    "reason_name",
    "reason_number",
]

UNSPECIFIED = 0
"""Left out of a CRL, as RFC 5280 asks."""
KEY_COMPROMISE = 1
SUPERSEDED = 4
PRIVILEGE_WITHDRAWN = 9

# 7 is not used; 6 and 8 belong to suspensions, which do not exist here: a revocation is for ever.
_NUMBERS = {
    "unspecified": UNSPECIFIED,
    "keyCompromise": KEY_COMPROMISE,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": SUPERSEDED,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": PRIVILEGE_WITHDRAWN,
    "aACompromise": 10,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}

AUTHORITY_REASONS = ("cACompromise", "aACompromise")
"""Those that speak of an authority. The command offers the others, and takes these too."""
LEAF_REASONS = tuple(name for name in _NUMBERS if name not in AUTHORITY_REASONS)


def reason_number(name: str) -> int:
    """The number of a name in the RFC's spelling; empty means unspecified. Raises `RequestError`."""
    if not name:
        return UNSPECIFIED
    if name not in _NUMBERS:
        raise RequestError(f"{name[:40]!a} is no reason; one of {', '.join(_NUMBERS)}")
    return _NUMBERS[name]


def reason_name(number: int) -> str:
    """The name of a number; the number itself for one that has none here."""
    return _NAMES.get(number, str(number))


def is_reason(number: int) -> bool:
    """Whether a revocation may carry this number."""
    return number in _NAMES
