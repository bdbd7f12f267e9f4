"""A workload that asks for another's SVID, through every method of every service and every socket that it can name."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from inborn._internal.host import paths
from inborn_agent.settings import private_runtime_directory
from inborn_proto import agent_pb2, workload
from tests.inborn_agent.fixtures_agent import ENVIRONMENT, Rig

pytestmark = pytest.mark.root

NOBODY = 65534
VICTIM, OWN = "spiffe://example.org/victim", "spiffe://example.org/own"

# Loads gRPC, becomes an ordinary user, and says what each call was answered with. It names its victim in every field
# that a message could have: numbers 1 to 8, as text, as a message with that text, as a number.
ATTACKER = f"""
import json, os, sys
import grpc
grpc.insecure_channel("unix:/nowhere").close()
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})

def field(number, content):
    return bytes((number << 3 | 2, len(content))) + content

victim = {VICTIM!r}.encode()
payloads = [b"", *(field(n, victim) for n in range(1, 9)), *(field(n, field(1, victim)) for n in range(1, 9)),
            *(bytes((n << 3, int(sys.argv[2]) & 0x7f | 0x80, int(sys.argv[2]) >> 7 & 0x7f)) for n in range(1, 9))]
metadata = (("workload.spiffe.io", "true"), ("spiffe-id", {VICTIM!r}), ("x-forwarded-for", {VICTIM!r}),
            ("x-peer-pid", sys.argv[2]), ("x-peer-uid", "0"))
said = []
for path in json.loads(sys.argv[1]):
    with grpc.insecure_channel("unix:" + path, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        for method in json.loads(sys.argv[3]):
            for payload in payloads:
                call = channel.stream_stream(method)(iter([payload]), timeout=0.15, metadata=metadata)
                try:
                    for number, message in enumerate(call):
                        said.append([path, method, "answer", message.hex()])
                        break
                    call.cancel()
                except grpc.RpcError as error:
                    said.append([path, method, error.code().name, (error.details() or "").encode().hex()])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    """A CA and an agent that holds the victim's SVID."""
    rig = Rig.make()
    rig.directory.chmod(0o755)  # the attacker gets as far as the kernel lets him
    try:
        rig.start_ca()
        rig.start_agent()
        rig.create_entry("/victim", f"unix:uid:{os.geteuid()}")
        yield rig
    finally:
        rig.close()


def methods() -> list[str]:
    """All that the agent serves anywhere, and what servers often have besides."""
    ours = agent_pb2.DESCRIPTOR.services_by_name
    services = [workload.SERVICE, ours["Local"], ours["AgentAdmin"]]
    found = [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]
    return [
        *found,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets",
    ]


@pytest.mark.parametrize("has_its_own", [False, True], ids=["without_an_identity", "with_its_own"])
async def test_workload_that_asks_for_anothers_svid_everywhere(served: Rig, has_its_own: bool) -> None:
    victim = (await served.fetch_once()).svids[0]
    assert victim.spiffe_id == VICTIM
    if has_its_own:
        served.create_entry("/own", f"unix:uid:{NOBODY}")
    inner = private_runtime_directory(served.data_dir, {})
    hidden = [
        paths.agent_admin_socket(served.data_dir),
        paths.admin_socket(served.data_dir),
        inner / "w" / "s",
        inner / "a" / "s",
    ]
    assert all(path.exists() for path in hidden)
    sockets = json.dumps([str(served.socket), *map(str, hidden)])
    command = [sys.executable, "-c", ATTACKER, sockets, str(os.getpid()), json.dumps(methods())]
    done = await asyncio.to_thread(
        subprocess.run, command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True, timeout=100
    )
    said = json.loads(done.stdout)
    everything = b"".join(bytes.fromhex(text) for _, _, _, text in said)
    for secret in (victim.x509_svid_key, victim.x509_svid, VICTIM.encode()):
        assert secret not in everything
    assert {outcome for path, _, outcome, _ in said if path != str(served.socket)} == {"UNAVAILABLE"}
    answered = {method for path, method, outcome, _ in said if outcome == "answer"}
    assert {method.rpartition("/")[2] for method in answered} == (
        {"FetchX509SVID", "FetchX509Bundles", "Attend", "Why"} if has_its_own else {"Attend", "Why"}
    )
    assert (OWN.encode() in everything) is has_its_own
