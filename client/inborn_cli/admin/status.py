"""`inborn status`: what runs here, since when, what runs out when, and what somebody has to look at."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import click

from inborn._internal.host import paths
from inborn._internal.host.talk import say_error, say_hint
from inborn._internal.rpc.admin_client import AdminClient, CaNotRunning
from inborn._internal.wire import admin_methods
from inborn.errors import InbornError
from inborn_cli.options import admin_socket_option, agent_socket_option, data_dir_option, example, json_option
from inborn_cli.output import (
    as_document,
    print_data,
    print_document,
    print_facts,
    print_table,
    time_or_none,
    time_text,
    until_text,
)
from inborn_cli.typed_values import format_duration
from inborn_cli.workload.agent_connection import AgentNotRunning, ask_agent
from inborn_proto import admin_pb2, agent_pb2

__all__ = ["status"]

_PATIENCE = 5.0  # seconds: whoever asks at night wants to know soon that nothing answers

# The CA sends a heartbeat every few seconds; an agent that has heard nothing for so long knows of no new revocation.
_SILENCE = dt.timedelta(seconds=60)


@dataclass(kw_only=True)
class _Report:
    """What was found; `problems` are the lines that make the command fail."""

    ca: admin_pb2.StatusResponse | None = None
    agent: agent_pb2.AgentStatus | None = None
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


@click.command(
    help="Say what runs here, since when, what runs out when, and which alarms are open. Exits 1 if an alarm is open, "
    "or something does not run that should.\n\n"
    "What should run is what has left its directory in the data directory, or was named.\n\n"
    + example("inborn status --json")
)
@json_option
@agent_socket_option
@admin_socket_option
@data_dir_option
def status(is_json: bool, agent_socket: Path | None, admin_socket: Path | None, data_dir: Path | None) -> None:
    now = dt.datetime.now(dt.UTC)
    directory = paths.data_dir(data_dir)
    report = _Report()
    if admin_socket is not None or _is_there(directory / "ca"):
        _ask_ca(report, admin_socket or paths.admin_socket(directory), now)
    if agent_socket is not None or _is_there(directory / "agent"):
        _ask_agent(report, agent_socket or paths.agent_admin_socket(directory), now)
    _compare(report)
    if report.ca is None and report.agent is None and not report.problems:
        report.problems.append(f"nothing of Inborn is in {directory}")
        report.hints.append("start it with `inborn up`; another data directory is named by --data-dir")
    if is_json:
        print_document(_document(report))
    else:
        _print(report, now)
    if report.problems:
        click.get_current_context().exit(1)


def _is_there(path: Path) -> bool:
    """Whether it exists, as far as this user is told: one that may not look is told so when it asks."""
    try:
        return path.exists()
    except PermissionError:
        return True


def _ask_ca(report: _Report, socket: Path, now: dt.datetime) -> None:
    try:
        with AdminClient(socket) as client:
            ca = client.call(admin_methods.GET_STATUS, admin_pb2.StatusRequest(), timeout=_PATIENCE)
    except CaNotRunning as error:
        report.problems.append(f"the CA does not run: {error.message}")
        report.hints.append(error.hint)
        return
    except InbornError as error:
        report.problems.append(f"the CA cannot be asked: {error.message}")
        report.hints.append(error.hint)
        return
    report.ca = ca
    if ca.write_problem:
        report.problems.append(f"the CA cannot write: {ca.write_problem}")
        report.hints.append("is the disk of its data directory full? inborn health tries a write")
    for alarm in ca.alarms:
        report.problems.append(f"alarm {alarm.id}, {alarm.kind}: {alarm.subject} {alarm.message}")
    if ca.alarms:
        report.hints.append("inborn alarms ack ID, when it has been looked at")
    for authority in ca.authorities:
        name = f"{authority.kind} authority {authority.id[:16]}"
        for what, stamp in (("certificate", authority.not_after), ("CRL", authority.crl_next_update)):
            end = time_or_none(stamp)
            if end is not None and end < now and authority.state in ("root", "active", "prepared"):
                report.problems.append(f"{what} of {name} expired at {time_text(end)}")


def _ask_agent(report: _Report, socket: Path, now: dt.datetime) -> None:
    service = agent_pb2.DESCRIPTOR.services_by_name["AgentAdmin"]
    try:
        agent = ask_agent(
            socket.absolute(), service, "GetStatus", agent_pb2.AgentStatusRequest(), agent_pb2.AgentStatus
        )
    except AgentNotRunning as error:
        report.problems.append(f"the agent does not run: {error.message}")
        report.hints.append(error.hint)
        return
    except InbornError as error:
        report.problems.append(f"the agent cannot be asked: {error.message}")
        report.hints.append(error.hint)
        return
    report.agent = agent
    for alarm in agent.alarms:
        report.problems.append(f"alarm of the agent: {alarm}")
    heard = dt.timedelta(milliseconds=agent.last_heard_ms)
    if not agent.connected:
        report.problems.append(f"the agent has no stream from the CA; last heard {format_duration(heard)} ago")
    elif heard > _SILENCE:
        report.problems.append(f"the agent has heard nothing from the CA for {format_duration(heard)}")
    expires = _moment(agent.svid_expires_ms)
    if expires is not None and expires < now:
        report.problems.append(f"the agent's own certificate expired at {time_text(expires)}")


def _compare(report: _Report) -> None:
    """Whether the agent of this directory is one of its CA's: it is not where a CA was begun anew beside it."""
    if report.ca is None or report.agent is None or not report.agent.spiffe_id:
        return
    ours = f"spiffe://{report.ca.trust_domain}/"
    if not report.agent.spiffe_id.startswith(ours):
        report.problems.append(f"the agent is {report.agent.spiffe_id}, the CA is of {report.ca.trust_domain}")
        report.hints.append("restore the old CA (inborn ca restore), or stop and delete the agent's directory")


def _moment(milliseconds: int) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC) if milliseconds else None


def _document(report: _Report) -> dict[str, object]:
    agent: dict[str, object] | None = None
    if report.agent is not None:
        agent = as_document(report.agent)
        for name in ("svid_expires", "started"):
            moment = _moment(getattr(report.agent, f"{name}_ms"))
            del agent[f"{name}_ms"]
            agent[f"{name}_at"] = time_text(moment, timespec="milliseconds")
    ca = None if report.ca is None else as_document(report.ca)
    return {"is_well": not report.problems, "ca": ca, "agent": agent, "problems": report.problems}


def _print(report: _Report, now: dt.datetime) -> None:
    if report.ca is not None:
        _print_ca(report.ca, now)
    if report.ca is not None and report.agent is not None:
        print_data("")
    if report.agent is not None:
        _print_agent(report.agent, now)
    for problem in report.problems:
        say_error(problem)
    for hint in dict.fromkeys(report.hints):
        if hint:
            say_hint(hint)


def _print_ca(ca: admin_pb2.StatusResponse, now: dt.datetime) -> None:
    print_facts(
        [
            ("CA", f"runs since {until_text(time_or_none(ca.started_at), now=now)}"),
            ("version", ca.version),
            ("trust domain", ca.trust_domain),
            ("data", ca.data_dir),
            ("bootstrap", ca.bootstrap_address),
            ("API", ca.api_address),
            ("CRLs", f"http://{ca.crl_address}/crl" if ca.crl_address else ""),
            ("agents", f"{ca.agents_connected} of {ca.agents} connected"),
            ("entries", str(ca.entries)),
            ("issued", f"{ca.certificates_issued} certificates since it started"),
            ("revocations", str(ca.revocation_seq)),
            ("log id", ca.log_id),
        ]
    )
    print_data("")
    print_table(
        ["AUTHORITY", "KIND", "STATE", "EXPIRES", "CRL UNTIL", "SUCCESSOR MADE", "IN USE"],
        [
            [
                a.id[:16],
                a.kind,
                a.state,
                time_text(time_or_none(a.not_after)) or "",
                time_text(time_or_none(a.crl_next_update)) or "",
                time_text(time_or_none(a.prepare_at)) or "",
                time_text(time_or_none(a.activate_at)) or "",
            ]
            for a in ca.authorities
        ],
    )


def _print_agent(agent: agent_pb2.AgentStatus, now: dt.datetime) -> None:
    heard = format_duration(dt.timedelta(milliseconds=agent.last_heard_ms))
    print_facts(
        [
            ("agent", f"runs since {until_text(_moment(agent.started_ms), now=now)}"),
            ("spiffe id", agent.spiffe_id),
            ("its SVID until", until_text(_moment(agent.svid_expires_ms), now=now)),
            ("CA", f"{agent.ca_address}, {'connected' if agent.connected else 'NOT CONNECTED'}, heard {heard} ago"),
            ("revocations", str(agent.revocation_seq)),
            ("entries", str(agent.entries)),
            ("SVIDs held", str(agent.cached_svids)),
            ("callers", str(agent.connections)),
            ("pinned by", agent.pinned_by),
        ]
    )
