"""`inborn why`: which selectors a process has, whose word each is, which entries match it, by what the others miss."""

from __future__ import annotations

from pathlib import Path

import click

from inborn._internal.host import paths
from inborn._internal.host.talk import clean, say, say_hint
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.trust import trust_class
from inborn._internal.spiffe.spiffe_id import parse_spiffe_id
from inborn._internal.wire import admin_methods
from inborn.errors import InbornError
from inborn_cli.options import admin_socket_option, agent_socket_option, example, json_option, socket_option
from inborn_cli.output import as_document, print_data, print_document
from inborn_cli.workload.agent_connection import ask_agent, workload_endpoint
from inborn_proto import admin_pb2
from inborn_proto import agent_pb2 as pb

__all__ = ["why"]


@click.command(
    help="Say which selectors this process has, as the agent of this machine sees it, and whose word each of them is: "
    "the kernel's, the runtime's, or that of whoever started the process. Facts of the process that asks are told to "
    "everybody: a shell's are those of what it starts, but for the path.\n\n"
    "With --pid another process, and which entries match it, miss by which selector, or are refused by which policy: "
    "for root and the agent's user.\n\n" + example("sudo inborn why --pid 4711")
)
@click.option("--pid", type=click.IntRange(1, 2**31 - 1), help="This process, by its number where the agent runs.")
@json_option
@agent_socket_option
@admin_socket_option
@socket_option
def why(
    pid: int | None,
    is_json: bool,
    agent_socket: Path | None,
    admin_socket: Path | None,
    socket: str | None,
    data_dir: Path | None,
) -> None:
    policies: list[admin_pb2.PosturePolicy] = []
    if pid is None:
        endpoint = workload_endpoint(socket, data_dir)
        service = pb.DESCRIPTOR.services_by_name["Local"]
        answer = ask_agent(endpoint, service, "Why", pb.WhyRequest(), pb.WhyResponse)
    else:
        own = agent_socket or paths.agent_admin_socket(paths.data_dir(data_dir))
        service = pb.DESCRIPTOR.services_by_name["AgentAdmin"]
        answer = ask_agent(own.absolute(), service, "WhyProcess", pb.WhyProcessRequest(pid=pid), pb.WhyResponse)
        if any(verdict.unmet for verdict in answer.entries):
            policies = _policies(admin_socket or paths.admin_socket(paths.data_dir(data_dir)))
    if is_json:
        print_document(_document(answer, policies))
    else:
        _print(answer, policies, is_told=pid is not None)


def _policies(admin_socket: Path) -> list[admin_pb2.PosturePolicy]:
    """The policies, where the CA is on this host: an agent knows what they demand, and not which they are."""
    try:
        with AdminClient(admin_socket) as ca:
            request = admin_pb2.ListPosturePoliciesRequest()
            return list(ca.call(admin_methods.LIST_POSTURE_POLICIES, request, timeout=5.0).policies)
    except InbornError:
        return []


def _that_refuse(verdict: pb.EntryVerdict, policies: list[admin_pb2.PosturePolicy]) -> list[admin_pb2.PosturePolicy]:
    spiffe_id, unmet = parse_spiffe_id(verdict.spiffe_id), set(verdict.unmet)
    return [
        policy
        for policy in policies
        if spiffe_id.is_at_or_below(parse_spiffe_id(policy.id_prefix)) and unmet.intersection(policy.demands)
    ]


def _document(answer: pb.WhyResponse, policies: list[admin_pb2.PosturePolicy]) -> dict[str, object]:
    document = as_document(answer)
    document["trust"] = {selector: _trust(selector) for selector in answer.selectors}
    document["entries"] = [
        {**as_document(verdict), "policies": [policy.id for policy in _that_refuse(verdict, policies)]}
        for verdict in answer.entries
    ]
    return document


def _trust(selector: str) -> str:
    return trust_class(parse_selector(selector)).value


def _print(answer: pb.WhyResponse, policies: list[admin_pb2.PosturePolicy], *, is_told: bool) -> None:
    print_data(clean(f"process {answer.pid}" + (f", pinned by {answer.pinned_by}" if answer.pinned_by else "")))
    for selector in answer.selectors:
        print_data(clean(f"  has {selector}  ({_trust(selector)})"))
    for hint in answer.hints:
        print_data(clean(f"  unknown: {hint}"))
    for verdict in answer.entries:
        print_data(clean(f"entry {verdict.entry_id} {_words(verdict)}: {verdict.spiffe_id}"))
        for policy in _that_refuse(verdict, policies):
            print_data(
                clean(
                    f"  refused by policy {policy.id} for {policy.id_prefix}" + (f": {policy.note}" * bool(policy.note))
                )
            )
    if not answer.entries:
        if is_told:
            say("no entry of this node is near")
        else:
            say_hint("which entries match is told to root: sudo inborn why --pid PID")


def _words(verdict: pb.EntryVerdict) -> str:
    words = []
    if verdict.missing:
        words.append(f"misses {' '.join(verdict.missing)}")
    if verdict.unmet:
        words.append(f"is refused by a policy that demands {' and '.join(verdict.unmet)}")
    return ", ".join(words) or "matches"
