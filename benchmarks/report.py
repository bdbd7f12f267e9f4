"""One figure: its value, its bar, and whether the machine was quiet enough to judge it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

__all__ = ["TOO_BUSY", "Figure", "percentile", "show"]

TOO_BUSY = 0.3  # cores that others kept busy: above it CPU figures inflate by more than their bars allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`bar` is the highest value that is good enough; None: none is set."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    detail: str = ""
    others: float = 0.0

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        if self.value <= self.bar:
            return "good"
        return "not judged: others were busy" if self.others > TOO_BUSY else "TOO HIGH"


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of them is at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(figures: list[Figure], *, as_json: bool) -> None:
    """Print the figures as a table, or as JSON lines."""
    if as_json:
        for figure in figures:
            print(json.dumps(asdict(figure) | {"verdict": figure.verdict}))
        return
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        bar = f"at most {figure.bar:g}" if figure.bar is not None else ""
        others = f"others {figure.others:.1f} cores" if figure.others else ""
        print(
            f"{figure.name:<{width}}  {figure.value:>8.2f} {figure.unit:<8} {bar:<13} {figure.verdict:<8} "
            f"{'; '.join(part for part in (figure.detail, others) if part)}"
        )
