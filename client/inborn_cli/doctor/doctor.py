"""`inborn doctor`: whether this host can keep what Inborn promises, and what it cannot stop."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from inborn._internal.host import paths
from inborn._internal.host.talk import clean
from inborn._internal.rpc.admin_client import default_admin_socket
from inborn_cli.doctor.entry_checks import check_entries
from inborn_cli.doctor.host_checks import CheckResult, Verdict, check_host
from inborn_cli.options import example, json_option, socket_option
from inborn_cli.output import print_data, print_document
from inborn_cli.workload.agent_connection import workload_endpoint

__all__ = ["doctor"]


@click.command(
    help="Check this host: how processes are told apart, where keys lie, the clock, the agent; where a CA answers, "
    "also which entries rest on too little. Each finding says what it cannot stop. Exits 1 if one has failed.\n\n"
    + example("inborn doctor --json")
)
@json_option
@socket_option
def doctor(is_json: bool, socket: str | None, data_dir: Path | None) -> None:
    admin_socket = paths.admin_socket(paths.data_dir(data_dir)) if data_dir is not None else default_admin_socket()
    admin_directory = paths.admin_socket(paths.data_dir(data_dir)).parent
    findings = list(check_host(workload_endpoint(socket, data_dir), admin_directory))
    findings += check_entries(admin_socket)
    if is_json:
        print_document([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        click.get_current_context().exit(1)


def _print(finding: CheckResult) -> None:
    print_data(clean(f"{finding.verdict:<8} {finding.name:<8} {finding.found}"))
    if finding.cannot_stop:
        print_data(clean(f"{'':17} cannot stop {finding.cannot_stop}"))
    if finding.hint:
        print_data(clean(f"{'':17} hint: {finding.hint}"))
