"""`inborn why`: which selectors a process has, which entries match it, and by what the others miss."""

from __future__ import annotations

from pathlib import Path

import click

from inborn import paths
from inborn.cli.connection import ask_agent, workload_endpoint
from inborn.cli.options import agent_socket_option, example, json_option, socket_option
from inborn.cli.output import as_document, print_data, print_document
from inborn.cli.talk import clean, say, say_hint
from inborn_proto import agent_pb2 as pb

__all__ = ["why"]


@click.command(
    help="Say which selectors this process has, as the agent of this machine sees it. Facts of the process that asks "
    "are told to everybody: a shell's are those of what it starts, but for the path.\n\n"
    "With --pid another process, and which entries match it or miss by which selector: for root and the agent's "
    "user.\n\n" + example("sudo inborn why --pid 4711")
)
@click.option("--pid", type=click.IntRange(1, 2**31 - 1), help="This process, by its number where the agent runs.")
@json_option
@agent_socket_option
@socket_option
def why(pid: int | None, is_json: bool, agent_socket: Path | None, socket: str | None, data_dir: Path | None) -> None:
    if pid is None:
        endpoint = workload_endpoint(socket, data_dir)
        service = pb.DESCRIPTOR.services_by_name["Local"]
        answer = ask_agent(endpoint, service, "Why", pb.WhyRequest(), pb.WhyResponse)
    else:
        own = agent_socket or paths.agent_admin_socket(paths.data_dir(data_dir))
        service = pb.DESCRIPTOR.services_by_name["AgentAdmin"]
        answer = ask_agent(own.absolute(), service, "WhyProcess", pb.WhyProcessRequest(pid=pid), pb.WhyResponse)
    if is_json:
        print_document(as_document(answer))
    else:
        _print(answer, is_told=pid is not None)


def _print(answer: pb.WhyResponse, *, is_told: bool) -> None:
    print_data(clean(f"process {answer.pid}" + (f", pinned by {answer.pinned_by}" if answer.pinned_by else "")))
    for selector in answer.selectors:
        print_data(clean(f"  has {selector}"))
    for hint in answer.hints:
        print_data(clean(f"  unknown: {hint}"))
    for verdict in answer.entries:
        if not verdict.missing:
            print_data(clean(f"entry {verdict.entry_id} matches: {verdict.spiffe_id}"))
    for verdict in answer.entries:
        if verdict.missing:
            missing = " ".join(verdict.missing)
            print_data(clean(f"entry {verdict.entry_id} misses {missing}: {verdict.spiffe_id}"))
    if not answer.entries:
        if is_told:
            say("no entry of this node is near")
        else:
            say_hint("which entries match is told to root: sudo inborn why --pid PID")
