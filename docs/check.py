"""Check the documentation: generated pages are current, links lead somewhere, and what pages name exists: commands with
their options, modules, classes and functions, files of the repository."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import generate
from inborn_cli import GROUPS, VERBS
from inborn_cli.program import _load

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(?:sh|shell|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?<![\w.\"-])(?:(?<!/)|(?<=/opt/inborn/bin/))inborn ([a-z][^|;)#\n]*)")
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
INLINE = re.compile(r"`inborn ([a-z][^`]*)`")
CODE = re.compile(r"`(inborn(?:_[a-z]+)?(?:\.\w+)+)(?:\([^`]*\))?`/?")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(
    r"`((?:\.ci|benchmarks|docs|examples|packaging|requirements|tests|(?:ca|client|proto)/inborn\w*)(?:/[\w./-]*)?)`"
)
SOURCE = re.compile(r"`(\w+\.py)`")
TRIED = ("README.md", "docs/tutorial/first-identity.md", "docs/how-to")  # name programs that the reader writes


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(page.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = page.parent / target if target else page
        if not path.exists():
            yield f"link to {target} leads nowhere"
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            yield f"link to {link}: there is no such heading"


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong_commands(page: Path) -> Iterator[str]:
    """Commands in blocks of a shell and in the text that begin with `inborn`: the verb exists, and has the options."""
    text = page.read_text()
    blocks = _unfolded("\n".join(BLOCK.findall(text)).replace("\\\n", " "))
    verbs = {verb.path: verb for verb in VERBS}
    groups = {group.name for group in GROUPS}
    for command in (*COMMAND.findall(blocks), *INLINE.findall(text)):
        words = command.split()
        path = " ".join(words[:2]) if words[0] in groups else words[0]
        if path in groups:  # `inborn token create|list` and the like
            continue
        if path not in verbs:
            yield f"there is no command `inborn {path}`"
            continue
        known = {option for param in _load(verbs[path], path.split()[-1]).params for option in options(param)}
        until = words.index("--") if "--" in words else len(words)
        for option in (word.partition("=")[0] for word in words[:until] if word.startswith("--")):
            if option not in known:
                yield f"`inborn {path}` has no option {option}"


def wrong_names(text: str) -> Iterator[str]:
    """Names of code in the text, such as `inborn.errors.InbornError`: each leads to something."""
    for name in CODE.findall(FENCED.sub("", text)):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            yield f"there is no `{name}`"


def wrong_files(text: str) -> Iterator[str]:
    """Files of the repository in the text, by their path."""
    text = FENCED.sub("", text)
    yield from (f"there is no file {path}" for path in FILE.findall(text) if not (ROOT / path).exists())


def wrong_modules(page: Path) -> Iterator[str]:
    """Modules in the text by their file's name alone; not where the reader is told to write programs."""
    if not page.relative_to(ROOT).as_posix().startswith(TRIED):
        names = {path.name for folder in ("benchmarks", "ca", "client", "proto", "docs") for path in sources(folder)}
        text = FENCED.sub("", page.read_text())
        yield from (f"there is no module {name}" for name in SOURCE.findall(text) if name not in names)


def unlisted() -> Iterator[str]:
    """Pages that the index does not lead to."""
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page != index and page not in listed:
            yield f"docs/index.md: has no link to {page.relative_to(ROOT)}"


def sources(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")


def _unfolded(script: str) -> str:
    """With what stands in `$(...)` on lines of its own."""
    inner: list[str] = []
    while match := SUBSTITUTION.search(script):
        inner.append(match[1])
        script = script[: match.start()] + "X" + script[match.end() :]
    return "\n".join([script, *inner])


def options(parameter: click.Parameter) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts, "--help"]


def problems_of(page: Path) -> Iterator[str]:
    yield from broken_links(page)
    yield from wrong_commands(page)
    yield from wrong_names(page.read_text())
    yield from wrong_files(page.read_text())
    yield from wrong_modules(page)


def main() -> int:
    problems = list(unlisted())
    problems += [f"{page.relative_to(ROOT)}: {problem}" for page in pages() for problem in problems_of(page)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if generate.main(["--check"]) or problems else 0


if __name__ == "__main__":
    sys.exit(main())
