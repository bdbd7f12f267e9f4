"""The map of the code, made from its imports: a picture of packages and rooms, and a table of who imports whom.

A room is a folder of a package, or a module that lies beside the folders. `generate.py` writes what this module makes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
SOURCES = ("ca", "client", "proto")
PACKAGES = ("inborn_agent", "inborn_cli", "inborn_ca", "inborn_member", "inborn", "inborn_proto")
WHOLE = ("inborn_member", "inborn_proto")  # one room each
LEFT_OUT = ("inborn.errors", "inborn._internal.version")  # what everybody imports says nothing

LINE, GAP_X, GAP_Y, PAD, TITLE, CHARACTER = 26, 12, 26, 14, 26, 7.1  # pixels
STYLE = """\
text { font: 12px ui-monospace, monospace; fill: #1f2328 }
.package { fill: #f6f8fa; stroke: #8c959f } .title { font-weight: bold }
.folder { fill: #ddf4ff; stroke: #54aeff } .module { fill: #fff; stroke: #8c959f }
line { stroke: #57606a; stroke-width: 1; marker-end: url(#tip) } .between { stroke: #cf222e; stroke-width: 1.6 }
"""


def room_of(module: str) -> str:
    """The room that a module lies in."""
    parts = module.split(".")
    if parts[0] in WHOLE:
        return parts[0]
    if parts[0] == "inborn":
        return ".".join(parts[:3] if parts[1:2] == ["_internal"] else parts[:2])
    return ".".join(parts[:2])


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Every room, and the rooms that it imports."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        room = room_of(module)
        if (room in PACKAGES and room not in WHOLE) or room in (*LEFT_OUT, "inborn._internal") or "__main__" in module:
            continue
        used = {room_of(other) for other in graph.find_modules_directly_imported_by(module)}
        found.setdefault(room, set()).update(used - {room, *LEFT_OUT} - (set(PACKAGES) - set(WHOLE)))
    return {room: frozenset(used) for room, used in sorted(found.items())}


def source_of(room: str) -> Path:
    for folder in SOURCES:
        path = ROOT / folder / room.replace(".", "/")
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if candidate.exists():
                return candidate
    raise LookupError(f"no source of {room}")


def is_folder(room: str) -> bool:
    return source_of(room).name == "__init__.py"


def short(room: str) -> str:
    return room.removeprefix("inborn._internal.") if room.startswith("inborn.") else room.partition(".")[2] or room


# -- the table ---------------------------------------------------------------------------------------------------------


def table() -> str:
    lines = ["| room | holds | imports |\n", "| --- | --- | --- |\n"]
    for package in PACKAGES:
        for room in rooms_of(package):
            says = _says(room)
            name = f"`{room}`" + "/" * is_folder(room)
            lines.append(f"| {name} | {says} | {_used(room)} |\n")
            lines += [f"| `{inner}`/ | {_says(inner)} | |\n" for inner in inner_rooms(room)]
    return "".join(lines)


def _says(room: str) -> str:
    """The first paragraph of its docstring."""
    text = ast.get_docstring(ast.parse(source_of(room).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def inner_rooms(room: str) -> list[str]:
    """The folders in a folder."""
    if not is_folder(room):
        return []
    top = source_of(room).parent
    return sorted(f"{room}.{'.'.join(p.parent.relative_to(top).parts)}" for p in top.glob("**/*/__init__.py"))


def _used(room: str) -> str:
    """The rooms that it imports, its own package's first."""
    by_package: dict[str, list[str]] = {}
    for other in sorted(imports()[room]):
        by_package.setdefault(other.partition(".")[0], []).append(short(other))
    parts = [", ".join(by_package.pop(room.partition(".")[0], []))]
    for package, others in sorted(by_package.items()):
        parts.append(f"*{package}*" if others == [package] else f"*{package}:* {', '.join(others)}")
    return "; ".join(part for part in parts if part) or "–"


def rooms_of(package: str) -> list[str]:
    return [room for room in imports() if room.partition(".")[0] == package]


# -- the picture -------------------------------------------------------------------------------------------------------


def levels(rooms: Iterable[str]) -> list[list[str]]:
    """Rows of rooms, the highest first: each room stands above all that it imports. Raises on a circle."""
    left, rows = set(rooms), list[list[str]]()
    while left:
        row = sorted(room for room in left if not imports()[room] & left)
        if not row:
            raise ValueError(f"rooms import each other in a circle: {sorted(left)}")
        rows.insert(0, row)
        left -= set(row)
    return rows


def arrows(rooms: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Who imports whom, without what follows from others."""
    inside = set(rooms)

    def below(room: str) -> set[str]:
        used = imports()[room] & inside
        return {*used, *(lower for other in used for lower in below(other))}

    for room in sorted(inside):
        used = imports()[room] & inside
        implied = set[str]().union(*(below(other) for other in used))
        yield from ((room, other) for other in sorted(used - implied))


class Drawing:
    """Boxes and arrows as SVG; arrows lie under the boxes of rooms."""

    def __init__(self) -> None:
        self.packages: list[str] = []
        self.lines: list[str] = []
        self.boxes: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, kind: str, text: str) -> None:
        into = self.packages if kind == "package" else self.boxes
        into.append(f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="4"/>')
        anchor, at = ("start", x + PAD) if kind == "package" else ("middle", x + width / 2)
        title = ' class="title"' if kind == "package" else ""
        into.append(f'<text{title} x="{at:.0f}" y="{y + 17:.0f}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, kind: str = "inside") -> None:
        self.lines.append(f'<line class="{kind}" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>')

    def svg(self, width: float, height: float) -> str:
        tip = '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">',
                "<!-- Generated from the code by docs/generate.py. -->",
                f"<style>{STYLE}</style>",
                f'<defs>{tip}<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>',
                f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
                *self.packages,
                *self.lines,
                *self.boxes,
                "</svg>\n",
            )
        )


def width_of(room: str) -> float:
    return len(short(room)) * CHARACTER + 18


def size(package: str) -> tuple[float, float]:
    rows = levels(rooms_of(package))
    width = max(sum(map(width_of, row)) + GAP_X * (len(row) - 1) for row in rows)
    return max(width, len(package) * CHARACTER + 20) + 2 * PAD, TITLE + len(rows) * (LINE + GAP_Y) - GAP_Y + PAD


def draw(drawing: Drawing, package: str, x: float, y: float, width: float, height: float) -> None:
    """A package's box with its rooms."""
    drawing.box(x, y, width, height, "package", package)
    if package in WHOLE:
        return
    places: dict[str, tuple[float, float, float]] = {}
    for number, row in enumerate(levels(rooms_of(package))):
        at = x + (width - sum(map(width_of, row)) - GAP_X * (len(row) - 1)) / 2
        for room in sorted(row, key=lambda room: _wish(room, places)):
            top = y + TITLE + number * (LINE + GAP_Y)
            drawing.box(at, top, width_of(room), LINE, "folder" if is_folder(room) else "module", short(room))
            places[room] = (at + width_of(room) / 2, top, top + LINE)
            at += width_of(room) + GAP_X
    for room, other in arrows(places):
        drawing.arrow(places[room][0], places[room][2], places[other][0], places[other][1])


def _wish(room: str, places: Mapping[str, tuple[float, float, float]]) -> tuple[float, str]:
    """Where a room would lie: under those that import it."""
    above = [places[other][0] for other in places if room in imports()[other]]
    return (sum(above) / len(above) if above else 0.0, room)


def picture() -> str:
    """Agent, command and CA beside each other, and below them what they stand on."""
    drawing, margin, between = Drawing(), 20.0, 60.0
    top, height = PACKAGES[:3], max(size(package)[1] for package in PACKAGES[:3])
    places: dict[str, tuple[float, float, float, float]] = {}
    x = margin
    for package in top:
        places[package] = (x, margin, size(package)[0], height)
        x += size(package)[0] + between
    width = x - between + margin
    library_width, library_height = size("inborn")
    y = margin + height + between
    places["inborn_member"] = (margin, y, size("inborn_member")[0], LINE)
    left = margin + size("inborn_member")[0] + between
    places["inborn"] = (left, y, max(library_width, width - margin - left), library_height)
    proto = size("inborn_proto")[0]
    places["inborn_proto"] = (left + 2 * PAD, y + library_height + between, proto, LINE)
    for package, place in places.items():
        draw(drawing, package, *place)

    def bottom(package: str, share: float) -> tuple[float, float]:
        x, y, wide, high = places[package]
        return x + share * wide, y + high

    def uses(package: str, other: str) -> bool:
        return any(used.partition(".")[0] == other for room in rooms_of(package) for used in imports()[room])

    library_top = places["inborn"][1]
    for package in top:
        if uses(package, "inborn"):
            x, y = bottom(package, 0.5)
            drawing.arrow(x, y, min(max(x, left + PAD), width - margin - PAD), library_top, "between")
    middle = places["inborn_cli"]
    for package, start, end in (
        ("inborn_agent", bottom("inborn_agent", 1)[0], middle[0]),
        ("inborn_ca", places["inborn_ca"][0], middle[0] + middle[2]),
    ):
        if uses(package, "inborn_cli"):
            drawing.arrow(start, margin + 50, end, margin + 50, "between")
    member = places["inborn_member"]
    if uses("inborn_agent", "inborn_member"):
        x, y = bottom("inborn_agent", 0.15)
        drawing.arrow(x, y, min(x, member[0] + member[2] - PAD), member[1], "between")
    if uses("inborn_member", "inborn"):
        drawing.arrow(member[0] + member[2], member[1] + 13, left, member[1] + 13, "between")
    if uses("inborn", "inborn_proto"):
        x = left + 2 * PAD + proto / 2
        drawing.arrow(x, bottom("inborn", 0)[1], x, places["inborn_proto"][1], "between")
    return drawing.svg(width, places["inborn_proto"][1] + LINE + margin)
