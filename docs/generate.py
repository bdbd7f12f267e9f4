"""Write what follows from the code: commands, settings, errors, RPCs, selectors, and the map of rooms.

`python docs/generate.py` writes them, `--check` fails when one of them is not what the code says.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import rooms

from inborn._internal.selectors.declarations import DECLARATIONS
from inborn._internal.selectors.demand import WORDS
from inborn._internal.selectors.kinds.posture import LISTED
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.wire.access import ACCESS
from inborn._internal.wire.methods import rpc_methods
from inborn.errors import InbornError
from inborn_cli import VERBS
from inborn_cli.program import _load

REFERENCE = Path(__file__).parent / "reference"
EXPLANATION = Path(__file__).parent / "explanation"
TABLE = re.compile(r"(?<=<!-- table of rooms -->\n\n).*?(?=\n<!-- end of the table -->)", re.DOTALL)
GENERATED = "<!-- Generated from the code by docs/generate.py: change the code, not this page. -->\n\n"

STATUS_NAMES = {
    3: "INVALID_ARGUMENT",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}


_THAT_CA = "that CA's, which an admin has named (`inborn x509pop set`)"

# The same of nodes: what evidence says of the machine.
NODE_SELECTORS = (
    ("x509pop:subject:cn:web1", "common name of the certificate that it enrolled with", _THAT_CA),
    ("x509pop:serialnumber:a1b2c3d4e5f", "serial number of that certificate", _THAT_CA),
    ("x509pop:ca:fingerprint:SHA1", "a CA above that certificate", "nobody's: it was verified"),
    ("x509pop:san:rack:7", "a URI of that certificate, `x509pop://TRUST-DOMAIN/rack:7`", _THAT_CA),
)


def pages() -> dict[Path, str]:
    """Every generated file."""
    architecture = EXPLANATION / "architecture.md"
    return {
        REFERENCE / "commands.md": _commands(),
        REFERENCE / "settings.md": _settings(),
        REFERENCE / "errors.md": _errors(),
        REFERENCE / "rpcs.md": _rpcs(),
        REFERENCE / "selectors.md": _selectors(),
        EXPLANATION / "rooms.svg": rooms.picture(),
        architecture: TABLE.sub(lambda _: rooms.table(), architecture.read_text(encoding="utf-8")),
    }


def _verbs() -> Iterator[tuple[str, click.Command]]:
    for verb in VERBS:
        yield verb.path, _load(verb, verb.path.split()[-1])


def _commands() -> str:
    lines = ["# Commands\n\n", GENERATED]
    lines.append(
        "Standard output is data, standard error is talk. Exit status: 0 done, 1 refused or failed, 2 usage.\n"
    )
    for path, command in _verbs():
        context = click.Context(command, info_name=f"inborn {path}", max_content_width=100)
        lines.append(f"\n## inborn {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "".join(lines)


def _settings() -> str:
    rows: dict[str, set[str]] = {}
    for path, command in _verbs():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar:
                names = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar)
                flag = max(parameter.opts, key=len)
                for name in names:
                    rows.setdefault(f"| `{name}` | `{flag}` | {(parameter.help or '').strip()} |", set()).add(path)
    lines = ["# Settings\n\n", GENERATED, "Every flag below can be set in the environment; the flag wins.\n\n"]
    lines += ["| variable | flag | meaning | commands |\n", "| --- | --- | --- | --- |\n"]
    lines += [f"{row} {', '.join(sorted(paths))} |\n" for row, paths in sorted(rows.items())]
    lines.append(
        "\nWithout a flag: `INBORN_LOG_FORMAT` (`text` or `json`: the lines on standard error), and for programs that "
        "use the library `SPIFFE_ENDPOINT_SOCKET` (where the Workload API is).\n"
    )
    return "".join(lines)


def _errors() -> str:
    for package in ("inborn", "inborn_agent", "inborn_ca", "inborn_cli", "inborn_member"):
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    lines = ["# Errors\n\n", GENERATED]
    lines.append(
        "The family says who must act: `RequestError` the caller (what was sent cannot be right), `DeniedError` the "
        "admin (understood and refused), `UnavailableError` nobody (it may work later), `InternalError` us. An error "
        "keeps its type across the wire, in the trailing metadata `inborn-error-bin`.\n\n"
    )
    lines += ["| error | module | family | gRPC status | meaning |\n", "| --- | --- | --- | --- | --- |\n"]
    for cls in sorted(set(_subclasses(InbornError)), key=lambda c: (c.__name__, c.__module__)):
        if cls.__module__.startswith("inborn"):
            summary = (cls.__doc__ or "").strip().splitlines()[0]
            family = cls.__mro__[1].__name__
            status = STATUS_NAMES[cls.status]
            lines.append(f"| `{cls.__name__}` | `{cls.__module__}` | `{family}` | {status} | {summary} |\n")
    return "".join(lines)


def _subclasses(cls: type[InbornError]) -> Iterator[type[InbornError]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _rpcs() -> str:
    streaming = {m.name: (m.is_client_streaming, m.is_server_streaming) for m in rpc_methods()}
    shapes = {(False, False): "one to one", (False, True): "one to many", (True, False): "many to one"}
    lines = ["# RPCs and who may call them\n\n", GENERATED]
    lines.append("What is not in this table is refused.\n\n")
    lines += ["| method | shape | callers |\n", "| --- | --- | --- |\n"]
    for method, callers in ACCESS.items():
        shape = shapes.get(streaming.get(method, (False, True)), "many to many")
        lines.append(f"| `{method}` | {shape} | {', '.join(sorted(callers))} |\n")
    return "".join(lines)


def _selectors() -> str:
    lines = ["# Selectors\n\n", GENERATED]
    lines.append(
        "A selector is one fact about a process. Whose word it is decides what it proves: the **kernel**'s, that of "
        "the **runtime** about something it made itself, or that of whoever **started** the container. One user of a "
        "machine is one party: a path or a digest tells programs apart, never parties, and counts only beside a fact "
        "that another user cannot have. [What attestation proves](../explanation/attestation.md) has more on each.\n\n"
        "An entry with a selector of one of these types and another key is refused; a key that SPIRE has is taken, "
        "with a warning, and so is a type that is not here.\n"
    )
    for declaration in DECLARATIONS.values():
        lines.append(f"\n## {declaration.kind}\n\n{declaration.about}\n\n")
        lines += ["| selector | says | whose word | who could forge it |\n", "| --- | --- | --- | --- |\n"]
        lines += [
            f"| `{type_.name}:{key.name}:{key.example}` | {key.says} | {key.trust.value} | {key.forger} |\n"
            for type_ in declaration.types
            for key in type_.keys
        ]
        for type_ in declaration.types:
            if type_.spire_keys:
                names = ", ".join(f"`{name}`" for name in sorted(type_.spire_keys))
                lines.append(f"\nSPIRE has further keys of `{type_.name}`; no agent produces them: {names}.\n")
        if declaration.caution:
            lines.append(f"\n{declaration.caution}\n")
    lines.append(
        "\n## Of nodes\n\nWhat a node's evidence said of it when it enrolled. An entry names a node by one of them, "
        "`--node selector:TYPE:VALUE`, and `inborn revoke --selector` takes them too.\n\n"
        "| selector | says | whose word |\n| --- | --- | --- |\n"
    )
    for example, says, whose in NODE_SELECTORS:
        lines.append(f"| `{parse_selector(example)}` | {says} | {whose} |\n")
    lines.append(
        "\n## Words for demands\n\nWhat [posture policies](../how-to/posture.md) demand in a word. "
        "Capabilities that have one: "
        + ", ".join(f"`{name}`" for name in sorted(LISTED))
        + ".\n\n| word | one of |\n| --- | --- |\n"
    )
    for word, demand in WORDS.items():
        lines.append(f"| `{word}` | {', '.join(f'`{selector}`' for selector in demand.split('|'))} |\n")
    lines.append("| `no-CAP_NAME` | `posture:cap_eff_lacks:CAP_NAME` |\n")
    return "".join(lines)


def main(arguments: list[str]) -> int:
    stale = []
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"error: not what the code says: {', '.join(stale)}", file=sys.stderr)
        print("hint: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
