"""Write the reference pages that follow from the code: commands, settings, errors, RPCs, selectors.

`python docs/generate.py` writes them, `--check` fails when one of them is not what the code says.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from inborn._internal.selectors.demand import WORDS
from inborn._internal.selectors.posture import LISTED
from inborn._internal.selectors.selector import parse_selector, trust_class
from inborn._internal.wire.access import ACCESS
from inborn._internal.wire.methods import rpc_methods
from inborn.errors import InbornError
from inborn_cli import VERBS
from inborn_cli.program import _load

REFERENCE = Path(__file__).parent / "reference"
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

NOBODY = "nobody; but every process may lock itself in"

# Each selector that an attestor gives, with an example, what it says and who could forge it.
SELECTORS = (
    ("unix:uid:1000", "effective user of the process", "nobody but root"),
    ("unix:user:web", "name of that user on the agent's host", "nobody but root"),
    ("unix:gid:1000", "effective group", "nobody but root"),
    ("unix:group:web", "name of that group", "nobody but root"),
    ("unix:supplementary_gid:27", "one of the process's further groups", "nobody but root"),
    ("unix:supplementary_group:sudo", "name of such a group", "nobody but root"),
    ("unix:path:/usr/bin/web", "the executable's path", "every process of that user: LD_PRELOAD, ptrace"),
    ("unix:sha256:DIGEST", "the executable's digest (up to 64 MiB)", "every process of that user, as with the path"),
    ("docker:label:app:web", "a label of the container", "whoever may start containers"),
    ("docker:env:APP_ENV=prod", "a variable that the container was started with", "whoever may start containers"),
    ("docker:image_id:web:1", "the image's name, a tag that can be moved", "whoever may tag images"),
    ("docker:image_config_digest:sha256:DIGEST", "the image's digest, by the engine", "nobody; but see below"),
    ("rootless:label:app:web", "any of the above, said by an engine that an ordinary user runs", "that user"),
    ("systemd:id:web.service", "the unit that the system manager put it in", "root"),
    ("systemd:fragment_path:/etc/systemd/system/web.service", "that unit's file", "root"),
    ("posture:seccomp:filter", "system calls are filtered on all its threads; or `strict`, `off`", NOBODY),
    ("posture:no_new_privs:true", "exec() gives no privileges; or `false`", NOBODY),
    ("posture:cap_eff:none", "no capability, and none that it could take up", NOBODY),
    ("posture:cap_eff:CAP_SYS_ADMIN", "has this capability, or could take it up", "nobody, and nobody wants to"),
    ("posture:cap_eff_lacks:CAP_SYS_ADMIN", "has not, by the kernel's word", NOBODY),
    ("posture:cap_bnd:none", "no capability can come by exec()", NOBODY),
    ("posture:cap_bnd_lacks:CAP_SYS_ADMIN", "this one cannot", NOBODY),
    ("posture:userns:mapped", "a user namespace in which nobody is the host's root; or `nested`, `host`", NOBODY),
    ("posture:ns_pid:private", "not the host's (also net, ipc, mnt, uts, cgroup); or `host`", NOBODY),
    ("posture:rootfs:ro", "its root is mounted read-only; or `rw`", NOBODY),
    ("posture:runtime_socket:none", "no engine's socket is to be seen from it; or `visible`", NOBODY),
    ("posture:lsm:web_t", "label of AppArmor or SELinux; `none` without", "who the module's policy lets change it"),
)  # fmt: skip


_THAT_CA = "that CA's, which an admin has named (`inborn x509pop set`)"

# The same of nodes: what evidence says of the machine.
NODE_SELECTORS = (
    ("x509pop:subject:cn:web1", "common name of the certificate that it enrolled with", _THAT_CA),
    ("x509pop:serialnumber:a1b2c3d4e5f", "serial number of that certificate", _THAT_CA),
    ("x509pop:ca:fingerprint:SHA1", "a CA above that certificate", "nobody's: it was verified"),
    ("x509pop:san:rack:7", "a URI of that certificate, `x509pop://TRUST-DOMAIN/rack:7`", _THAT_CA),
)


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "commands.md": _commands(),
        "settings.md": _settings(),
        "errors.md": _errors(),
        "rpcs.md": _rpcs(),
        "selectors.md": _selectors(),
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
    return "".join(lines)


def _errors() -> str:
    for package in ("inborn", "inborn_agent", "inborn_ca"):
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not module.name.endswith("__main__") and ".demo" not in module.name:
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
        "that another user cannot have.\n\n"
    )
    lines += ["| selector | says | whose word | who could forge it |\n", "| --- | --- | --- | --- |\n"]
    for example, says, forger in SELECTORS:
        lines.append(f"| `{example}` | {says} | {trust_class(parse_selector(example)).value} | {forger} |\n")
    lines.append(
        "\nThe digest of an image says where a container's files come from, and not what runs in it: whoever may start "
        "containers can mount a file of his own over the image's program. [What attestation "
        "proves](../explanation/attestation.md) has more on each.\n"
    )
    lines.append(
        "\n## Of nodes\n\nWhat a node's evidence said of it when it enrolled. An entry names a node by one of them, "
        "`--node selector:TYPE:VALUE`, and `inborn revoke --selector` takes them too.\n\n"
        "| selector | says | whose word |\n| --- | --- | --- |\n"
    )
    for example, says, whose in NODE_SELECTORS:
        lines.append(f"| `{parse_selector(example)}` | {says} | {whose} |\n")
    lines.append(
        "\n## Words for demands\n\nWhat [rules](../how-to/posture.md) demand in a word. Capabilities that have one: "
        + ", ".join(f"`{name}`" for name in sorted(LISTED))
        + ".\n\n| word | one of |\n| --- | --- |\n"
    )
    for word, demand in WORDS.items():
        lines.append(f"| `{word}` | {', '.join(f'`{selector}`' for selector in demand.split('|'))} |\n")
    lines.append("| `no-CAP_NAME` | `posture:cap_eff_lacks:CAP_NAME` |\n")
    return "".join(lines)


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text)
    if stale and "--check" in arguments:
        print(f"error: not what the code says: {', '.join(stale)}", file=sys.stderr)
        print("hint: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
