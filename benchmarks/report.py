"""One figure: its value, its bar, what it was made of, and whether the machine was quiet enough to judge it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

__all__ = ["TOO_BUSY", "Figure", "Sample", "figure_of", "percentile", "show"]

TOO_BUSY = 0.3  # cores that others kept busy: above it CPU figures inflate by more than their bars allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one load. `floor` and `ours` are microseconds of CPU, `others` cores, `rate` is a second's."""

    floor: float
    ours: float
    others: float
    rate: float

    @property
    def ratio(self) -> float:
        return self.ours / self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`bar` is the highest value that is good enough, or the lowest where more is better; None: none is set."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    more_is_better: bool = False
    detail: str = ""
    others: float = 0.0
    floor: float | None = None
    ours: float | None = None

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        if self.value >= self.bar if self.more_is_better else self.value <= self.bar:
            return "good"
        if self.others > TOO_BUSY:
            return "not judged"
        return "TOO LOW" if self.more_is_better else "TOO HIGH"

    @property
    def is_bad(self) -> bool:
        return self.verdict.startswith("TOO")


def figure_of(name: str, samples: Sequence[Sample], bar: float | None = None, detail: str = "") -> Figure:
    """The median of the rounds, by ratio, with all that was seen in that round."""
    sample = sorted(samples, key=lambda s: s.ratio)[len(samples) // 2]
    parts = [detail, f"{sample.rate:.0f}/s" if sample.rate else ""]
    return Figure(
        name=name,
        value=sample.ratio,
        unit="x floor",
        bar=bar,
        detail="; ".join(part for part in parts if part),
        others=sample.others,
        floor=sample.floor,
        ours=sample.ours,
    )


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
    rows: list[tuple[str, ...]] = [("figure", "value", "", "bar", "verdict", "ours us", "floor us", "others", "")]
    rows += [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in (1, 5, 6, 7) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    if any(figure.verdict == "not judged" for figure in figures):
        print(f"not judged: others kept more than {TOO_BUSY} cores busy; try again when the machine is quiet")


def _row(figure: Figure) -> tuple[str, ...]:
    word = "at least" if figure.more_is_better else "at most"
    return (
        figure.name,
        f"{figure.value:.2f}",
        figure.unit,
        "" if figure.bar is None else f"{word} {figure.bar:g}",
        figure.verdict,
        "" if figure.ours is None else f"{figure.ours:.0f}",
        "" if figure.floor is None else f"{figure.floor:.0f}",
        f"{figure.others:.2f}" if figure.others else "",
        figure.detail,
    )
