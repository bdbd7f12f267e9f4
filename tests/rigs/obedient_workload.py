"""A workload that does as it is told, line by line, and says in JSON what the agent gave it.

`fetch`: follow the Workload API. `attend`: what our library does. `hang-up`: close the connection. `seccomp`: a filter
that allows everything, on all threads. `groups N`, `user N`: become that. `exec`: become /bin/sleep. At the end of its
input it ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import struct
import sys
import threading
from collections.abc import Iterator

import grpc

from inborn._internal.spiffe.x509_svid import X509Svid
from inborn_proto import agent_pb2, workload

SECCOMP = {"x86_64": 317, "aarch64": 277}
FETCH = "/SpiffeWorkloadAPI/FetchX509SVID"
ATTEND = "/inborn.agent.v1.Local/Attend"
HEADER = (("workload.spiffe.io", "true"),)


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def fetch(channel: grpc.Channel) -> None:
    call = channel.unary_stream(FETCH, workload.X509SVIDRequest.SerializeToString, workload.X509SVIDResponse.FromString)
    try:
        for message in call(workload.X509SVIDRequest(), metadata=HEADER):
            svids = [X509Svid.parse(svid.x509_svid, svid.x509_svid_key) for svid in message.svids]
            say(svids={svid.spiffe_id.path: svid.facts.serial.hex() for svid in svids})
    except grpc.RpcError as error:
        say(end=error.code().name, details=error.details())


def attend(channel: grpc.Channel) -> None:
    requests: queue.SimpleQueue[agent_pb2.AttendRequest] = queue.SimpleQueue()
    requests.put(agent_pb2.AttendRequest())

    def asked() -> Iterator[agent_pb2.AttendRequest]:
        while True:
            yield requests.get()

    call = channel.stream_stream(ATTEND, agent_pb2.AttendRequest.SerializeToString, agent_pb2.AttendResponse.FromString)
    try:
        for message in call(asked()):
            if message.WhichOneof("content") == "identities":
                told = message.identities
                svids = [X509Svid.parse(one.chain, one.key) for one in told.identities]
                say(svids={svid.spiffe_id.path: svid.facts.serial.hex() for svid in svids}, reason=told.reason)
    except grpc.RpcError as error:
        say(end=error.code().name, details=error.details())


def lock_in() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(allow)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
    # SECCOMP_SET_MODE_FILTER with TSYNC: of all threads.
    assert libc.syscall(SECCOMP[os.uname().machine], 1, 1, program) == 0, os.strerror(ctypes.get_errno())


def main(socket: str) -> None:
    channel = grpc.insecure_channel(f"unix:{socket}", [("grpc.use_local_subchannel_pool", 1)])
    for line in sys.stdin:
        word, *numbers = line.split()
        match word:
            case "fetch":
                threading.Thread(target=fetch, args=(channel,), daemon=True).start()
                continue
            case "attend":
                threading.Thread(target=attend, args=(channel,), daemon=True).start()
                continue
            case "hang-up":
                channel.close()
            case "seccomp":
                lock_in()
            case "groups":
                os.setgroups([int(number) for number in numbers])
            case "user":
                os.setresuid(*[int(numbers[0])] * 3)
            case "exec":
                say(done=word)
                os.execv("/bin/sleep", ["sleep", "600"])  # noqa: S606 -- that is what is tested
        say(done=word)


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)
