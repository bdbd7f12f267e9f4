"""What the proofs of an enrollment are made under."""

from __future__ import annotations

__all__ = ["enroll_context"]


def enroll_context(kind: str) -> bytes:
    """Of this kind of evidence, in ASCII: one kind's proof is never another's."""
    return b"inborn enroll " + kind.encode("ascii") + b" v2\0"
