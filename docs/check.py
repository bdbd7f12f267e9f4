"""Check the documentation: generated pages are current, links lead somewhere, pages name commands that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import generate
from inborn.cli import VERBS

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^\s*(?:\$ |# )?(?:sudo )?inborn ([a-z][a-z ]*)", re.MULTILINE)


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def broken_links(page: Path) -> list[str]:
    problems = []
    for target in LINK.findall(page.read_text()):
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
            problems.append(f"{page.relative_to(ROOT)}: link to {target} leads nowhere")
    return problems


def unknown_commands(page: Path) -> list[str]:
    """Lines of code blocks that begin with `inborn` and a verb that is none."""
    verbs = {verb.path for verb in VERBS} | {verb.path.split()[0] for verb in VERBS}
    problems = []
    for block in re.findall(r"^```(?:sh|shell|console|text)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for words in COMMAND.findall(block):
            parts = words.split()
            if parts and not ({parts[0], " ".join(parts[:2])} & verbs):
                problems.append(f"{page.relative_to(ROOT)}: there is no command `inborn {' '.join(parts[:2])}`")
    return problems


def main() -> int:
    problems = [p for page in pages() for p in (*broken_links(page), *unknown_commands(page))]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if generate.main(["--check"]) or problems else 0


if __name__ == "__main__":
    sys.exit(main())
