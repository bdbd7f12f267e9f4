"""An agent that is not sure takes nothing away: what a process has, it keeps until it expires or is denied."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal

import pytest

from inborn._internal.source.snapshot import NoIdentity
from inborn._internal.source.x509_source import X509Source
from inborn.testing import MemoryAuthority
from inborn_agent.settings import keys_directory, private_runtime_directory
from inborn_proto import agent_pb2
from tests.rigs.fixtures_library import SpokenAgent
from tests.rigs.fixtures_up import Machine, wait_for_paths, wait_for_snapshot
from tests.rigs.up_rig import stopped, wait_until

WEB = "spiffe://example.org/web"


def say_pending(agent: SpokenAgent) -> None:
    nothing = agent_pb2.Identities(trust_domain="example.org", reason="the CA is being asked", pending=True)
    agent.say("identities", agent_pb2.AttendResponse(identities=nothing))


def say_heard(agent: SpokenAgent, source: X509Source) -> None:
    """Everything that was said before has been applied when this has."""
    before = source.snapshot().heard_at
    agent.freshness(0)
    wait_until(lambda: source.snapshot().heard_at != before, "a sign of life")


def test_pending_identity_takes_nothing_away_and_a_denial_does(authority: MemoryAuthority, agent: SpokenAgent) -> None:
    svid = authority.svid(WEB)
    agent.identify(svid)
    with X509Source(agent.path) as source:
        say_pending(agent)
        say_heard(agent, source)
        assert source.svid.leaf == svid.leaf
        agent.withdraw("revoked and blocked")
        wait_for_snapshot(source, lambda s: not s.svids, "the identity is gone")


def test_pending_identity_takes_away_what_is_revoked_or_has_expired(
    authority: MemoryAuthority, agent: SpokenAgent
) -> None:
    agent.identify(authority.svid(WEB, ttl=dt.timedelta(seconds=2)))
    with X509Source(agent.path) as source:
        end = source.svid.facts.not_after
        while dt.datetime.now(dt.UTC) < end:
            say_heard(agent, source)
        say_pending(agent)
        wait_for_snapshot(source, lambda s: not s.svids, "the identity is gone")


def test_process_without_an_identity_is_told_what_is_pending(agent: SpokenAgent) -> None:
    say_pending(agent)
    with pytest.raises(NoIdentity, match="the CA is being asked"):
        with X509Source(agent.path, timeout=0.5):
            pass


def test_agent_that_restarts_without_its_keys_while_the_ca_is_away_is_no_outage(machine: Machine) -> None:
    machine.entry("/web")
    with machine.source() as source:
        wait_for_paths(source, "/web")
        first = source.svid
        children = machine.supervisor.children()
        with stopped(children["signer"]):
            os.kill(children["agent"], signal.SIGKILL)
            shutil.rmtree(keys_directory(private_runtime_directory(machine.data_dir, os.environ)), ignore_errors=True)
            wait_until(lambda: machine.supervisor.stderr.count("ready socket=") == 2, "the new agent", 60)
            wait_for_library(machine)
            assert source.svid.leaf == first.leaf
        wait_for_snapshot(source, lambda s: bool(s.svids) and s.svids[0].leaf != first.leaf, "a new one")


def wait_for_library(machine: Machine) -> None:
    """Until the new agent has told another process what it tells this one."""
    with pytest.raises(NoIdentity, match=r"the CA (is being asked|cannot be asked)"):
        with machine.source(timeout=2):
            pass
