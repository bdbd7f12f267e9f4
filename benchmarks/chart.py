"""The page's table and picture from one run.

    python -m benchmarks --json > docs/explanation/performance.jsonl
    python -m benchmarks.chart docs/explanation/performance.md

Reads the figures beside the page, writes the table between the page's two marks, and the picture beside it.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

from benchmarks import echo, issuing, path, peers

__all__ = ["main", "picture", "table"]

BEGIN, END = "<!-- figures: make bench -->", "<!-- end of figures -->"

BARS = {
    "the floor: one verify, one sign": "",
    "issue path alone": path.ALONE,
    "batches of 100": issuing.BATCH_100,
    "one agent that gathers": issuing.GATHERING,
    "batches of 10": issuing.BATCH_10,
    "single requests, 128 agents": issuing.SINGLE,
    "gRPC's Python server alone, a call": echo.CALLS,
    "the same requests as calls": issuing.UNARY,
    "cfssl, nothing stored": peers.BARE,
    "OpenBao, nothing stored": peers.NOT_STORED,
    "OpenBao, stored": peers.STORED,
}
THEIRS = (peers.BARE, peers.NOT_STORED, peers.STORED)

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 760, 26, 220, 60, 44


def picture(figures: dict[str, dict[str, Any]]) -> str:
    """Horizontal bars, in multiples of the floor; what was not measured is left out."""
    rows = [(label, figures[name]["value"] if name else 1.0, name) for label, name in BARS.items()
            if not name or name in figures]  # fmt: skip
    scale = (_WIDTH - _LEFT - _RIGHT) / max(value for _, value, _ in rows)
    height = _TOP + _ROW * len(rows) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        "<title>CPU of the server for one certificate, in multiples of one verify and one sign</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="12" y="24" font-size="15" fill="#222">CPU of the server for one certificate; '
        "1 = one P-256 verify and one sign</text>",
    ]
    for number, (label, value, name) in enumerate(rows):
        y = _TOP + number * _ROW
        colour = "#999" if not name or name == echo.CALLS else "#c77d2b" if name in THEIRS else "#2b6cb0"
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 16}" text-anchor="end" fill="#222">{escape(label)}</text>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{value * scale:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
            f'<text x="{_LEFT + value * scale + 6:.1f}" y="{y + 16}" fill="#222">{value:.1f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| figure | value | bar | |", "|---|---|---|---|"]
    for name, figure in figures.items():
        word = "at least" if figure["more_is_better"] else "at most"
        bar = "" if figure["bar"] is None else f"{word} {figure['bar']:g}"
        verdict = "**missed**" if figure["verdict"].startswith("TOO") else figure["verdict"]
        lines.append(f"| {name.strip()} | {figure['value']:.3g} {figure['unit']} | {bar} | {verdict} |")
    return "\n".join(lines)


def main(page: Path) -> int:
    figures = {}
    for line in page.with_suffix(".jsonl").read_text().splitlines():
        figure = json.loads(line)
        figures[figure["name"]] = figure
    text = page.read_text()
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n\n{table(figures)}\n\n{END}{tail}")
    page.with_suffix(".svg").write_text(picture(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
