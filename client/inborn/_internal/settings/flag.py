"""How a setting is declared: its flag stands beside its field, and the command derives its option from the two.

    port: Annotated[int, Flag("--port", env="INBORN_PORT", help="Where to listen.", most=65535)] = 0

Type and default are the field's. What a field's dataclass refuses is checked there, once, wherever the value is from.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Flag"]


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag of one setting, and the variable that stands for it where it is not given."""

    name: str
    env: str
    help: str
    metavar: str = ""
    most: int | None = None
    """Of a number, the largest."""
