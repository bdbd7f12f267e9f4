"""Each kind of workload attestor is a folder of the agent and a module of the library, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from inborn._internal.process.pinning import pin_pid
from inborn._internal.selectors.declarations import DECLARATIONS
from inborn_agent.attest import EngineClient, Evidence, Host
from inborn_agent.attest.attestors import find_attestors
from inborn_agent.attest.container.engine import Container, EngineError
from tests.inborn_agent.attest.fixtures_made_process import MakeProcess

ROOT = Path(__file__).resolve().parents[3]


def test_every_attestor_has_a_declaration_and_every_declaration_an_attestor() -> None:
    assert set(find_attestors()) == set(DECLARATIONS)


def test_the_one_that_reads_the_executable_comes_last() -> None:
    # What was read before the executable is known to be of the program that it is.
    attestors = list(find_attestors().values())
    assert [attestor.reads_executable for attestor in attestors] == [False] * (len(attestors) - 1) + [True]


class AwayEngine(EngineClient):
    """Answers nobody."""

    def container(self, id_: str) -> Container | None:
        raise EngineError("it is away")


@pytest.mark.parametrize("kind", sorted(DECLARATIONS))
def test_an_attestor_gives_facts_of_its_own_types_alone(kind: str) -> None:
    with pin_pid(os.getpid()) as process:
        evidence = find_attestors()[kind].attest(process, Host())
    assert isinstance(evidence, Evidence)
    types = {type_.name: {key.name for key in type_.keys} for type_ in DECLARATIONS[kind].types}
    for selector in evidence.selectors:
        assert selector.value.partition(":")[0] in types[selector.type]


def test_an_engine_is_a_question_and_only_for_who_claims_a_container(make_process: MakeProcess) -> None:
    host, attestor = Host(engines=[AwayEngine("/nowhere")]), find_attestors()["container"]
    found = attestor.attest(make_process(cgroup=f"0::/docker/{'7cd5' * 16}\n"), host)
    assert not isinstance(found, Evidence)
    assert found().hints == ("docker selectors left out: it is away",)
    of_the_host = attestor.attest(make_process(cgroup="0::/user.slice\n"), host)
    assert isinstance(of_the_host, Evidence)
    assert not of_the_host.selectors
    assert not of_the_host.hints


# Two kinds that are nowhere in this program: a fact of the kernel's, and somebody who has to be asked.
OOM_DECLARATION = """
from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType, TrustClass

OOM = SelectorType(
    name="oom",
    keys=(
        SelectorKey(
            name="score_adj", example="-500", says="how soon it is killed", forger="nobody but root",
            trust=TrustClass.KERNEL, is_party_fact=True, may_be=lambda value: value.lstrip("-").isdecimal(),
            otherwise="is no score",
        ),
    ),
)
DECLARATION = AttestorDeclaration(kind="oom", about="Whom the kernel kills first.", types=(OOM,))
"""
OOM_ATTESTOR = """
from inborn._internal.selectors.kinds.oom import OOM
from inborn_agent.attest.evidence import EvidenceBuilder

class OomAttestor:
    reads_executable = False

    def attest(self, process, host):
        findings = EvidenceBuilder(OOM)
        findings.add("score_adj", process.read("oom_score_adj").decode().strip())
        return findings.evidence()

ATTESTOR = OomAttestor()
"""
ORACLE_DECLARATION = """
from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType, TrustClass

ORACLE = SelectorType(
    name="oracle",
    keys=(SelectorKey(name="thread", example="x", says="who asks", forger="anybody", trust=TrustClass.STARTER),),
)
DECLARATION = AttestorDeclaration(kind="oracle", about="Somebody who may hang.", types=(ORACLE,))
"""
ORACLE_ATTESTOR = """
import threading
from inborn._internal.selectors.kinds.oracle import ORACLE
from inborn_agent.attest.evidence import EvidenceBuilder

class OracleAttestor:
    reads_executable = False

    def attest(self, process, host):
        return self.ask

    def ask(self):
        findings = EvidenceBuilder(ORACLE)
        findings.add("thread", threading.current_thread().name)
        return findings.evidence()

ATTESTOR = OracleAttestor()
"""

WITH_MORE_KINDS = """
import asyncio, json, os, sys
import inborn._internal.selectors.kinds
inborn._internal.selectors.kinds.__path__.append(sys.argv[1] + "/kinds")
import inborn_agent.attest
inborn_agent.attest.__path__.append(sys.argv[1] + "/attest")
"""

SEEN = """
sys.path.insert(0, sys.argv[2])
import generate
from inborn._internal.process.pinning import pin_pid
from inborn._internal.selectors.entry_selector import parse_entry_selector
from inborn._internal.selectors.trust import has_party_boundary, trust_class
from inborn._internal.selectors.weakness import weaknesses
from inborn.errors import InbornError

async def attested():
    attestors = inborn_agent.attest.WorkloadAttestors()
    with pin_pid(os.getpid()) as process:
        evidence = await attestors.attest(process)
    attestors.close()
    return evidence.selectors

def refusal(text):
    try:
        parse_entry_selector(text)
    except InbornError as error:
        return error.message

selectors = asyncio.run(attested())
fact, = (s for s in selectors if s.type == "oom")
word, = (s for s in selectors if s.type == "oracle")
print(json.dumps({
    "others": sorted({s.type for s in selectors} - {"oom", "oracle"}),
    "fact": str(fact), "trust": trust_class(fact).value, "party": has_party_boundary([fact]),
    "weaknesses": weaknesses([fact], is_any_node=False),
    "wrong": weaknesses([parse_entry_selector("oom:score_adj:much")], is_any_node=False),
    "refusal": refusal("oom:score:5"),
    "word": str(word), "word trust": trust_class(word).value, "word weaknesses": weaknesses([word], is_any_node=False),
    "page": {path.name: text for path, text in generate.pages().items()}["selectors.md"],
}))
"""


def put(directory: Path, kind: str, declaration: str | None, attestor: str | None) -> None:
    """Lay a kind's folder and its declaration down where the program below looks."""
    kinds, folder = directory / "kinds", directory / "attest" / kind
    kinds.mkdir(exist_ok=True)
    if declaration is not None:
        (kinds / f"{kind}.py").write_text(dedent(declaration))
    if attestor is not None:
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "attestor.py").write_text(dedent(attestor))


def run(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what is found at the start is what counts."""
    paths = [str(ROOT / part) for part in ("client", "proto", "ca")]
    return subprocess.run(
        [sys.executable, "-c", WITH_MORE_KINDS + program, str(directory), str(ROOT / "docs")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_kind_that_is_dropped_in_is_attested_trusted_and_documented_without_another_change(tmp_path: Path) -> None:
    put(tmp_path, "oom", OOM_DECLARATION, OOM_ATTESTOR)
    put(tmp_path, "oracle", ORACLE_DECLARATION, ORACLE_ATTESTOR)
    done = run(SEEN, tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert seen["fact"] == f"oom:score_adj:{Path('/proc/self/oom_score_adj').read_text().strip()}"
    assert (seen["trust"], seen["party"], seen["weaknesses"]) == ("kernel", True, [])
    assert "no process ever matches: oom:score_adj:much is no score" in seen["wrong"]
    assert seen["refusal"] == "selectors of type oom have no key 'score', they have score_adj"
    # Who may hang is asked in threads of that kind's own.
    assert seen["word"].startswith("oracle:thread:attest-oracle_")
    assert seen["word trust"] == "starter"
    assert any("whoever started the workload" in warning for warning in seen["word weaknesses"])
    assert {"posture", "unix"} <= set(seen["others"])

    assert "## oom\n\nWhom the kernel kills first.\n" in seen["page"]
    assert "| `oom:score_adj:-500` | how soon it is killed | kernel | nobody but root |" in seen["page"]
    assert (ROOT / "docs" / "reference" / "selectors.md").read_text().count("oom:") == 0


@pytest.mark.parametrize(
    ("kind", "declaration", "attestor", "complaint"),
    [
        ("oom", None, OOM_ATTESTOR.replace("kinds.oom import OOM", "kinds.unix import UNIX as OOM"),
         "the library declares no selectors of the workload attestor oom"),
        ("oom", OOM_DECLARATION, "", "inborn_agent.attest.oom is no workload attestor"),
        ("oom", "", OOM_ATTESTOR, "kinds.oom declares no workload attestor of that name"),
        ("oom", OOM_DECLARATION.replace('kind="oom"', 'kind="unix"'), OOM_ATTESTOR,
         "kinds.oom declares no workload attestor of that name"),
        ("oom", OOM_DECLARATION.replace('name="oom"', 'name="unix"'), OOM_ATTESTOR,
         "selectors of type unix are declared twice"),
    ],
    ids=["undeclared", "no_attestor", "no_declaration", "under_another_name", "in_the_name_of_another"],
)  # fmt: skip
def test_a_kind_that_is_not_whole_keeps_the_agent_from_starting(
    tmp_path: Path, kind: str, declaration: str | None, attestor: str, complaint: str
) -> None:
    put(tmp_path, kind, declaration, attestor)
    done = run("inborn_agent.attest.WorkloadAttestors()", tmp_path)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_a_fact_that_its_kind_does_not_declare_is_not_given(tmp_path: Path) -> None:
    put(tmp_path, "oom", OOM_DECLARATION, OOM_ATTESTOR.replace('"score_adj"', '"score"'))
    done = run(SEEN, tmp_path)
    assert done.returncode != 0
    assert "the workload attestor gives oom:score, which it does not declare" in done.stderr
