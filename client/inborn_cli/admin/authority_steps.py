"""Following the revocation of an issuing authority: it is replaced first, and that takes others."""

from __future__ import annotations

from inborn._internal.host.talk import say, say_warning
from inborn._internal.rpc.admin_client import DEFAULT_TIMEOUT, AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.admin.spread import call_patiently
from inborn_cli.output import print_facts
from inborn_cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["follow_authority", "print_authority"]

_WAIT = 30.0  # seconds that the CA may hold a call until there is another step

_STEPS = {
    "preparing": "preparing the next authority",
    "pushing": "giving its CRL to every connected peer",
    "activating": "activating it",
    "renewing": "renewing what the old one signed",
    "settling": "letting programs take what was renewed",
    "revoking": "revoking the old one",
}


def follow_authority(ca: AdminClient, authority: str) -> pb.AuthorityRevocationResponse:
    """Wait until it is revoked, and say each step. It goes on in the CA when nobody waits."""
    step = ""
    try:
        while True:
            request = pb.AuthorityRevocationRequest(authority=authority, step=step, wait_ms=round(1000 * _WAIT))
            answer = call_patiently(ca, admin_methods.GET_AUTHORITY_REVOCATION, request, _WAIT + DEFAULT_TIMEOUT)
            if answer.finished:
                return answer
            if answer.step != step:
                step = answer.step
                if step in _STEPS:
                    say(_STEPS[step])
    except KeyboardInterrupt:
        say("it goes on in the CA")
        raise


def print_authority(target: str, answer: pb.AuthorityRevocationResponse) -> None:
    """What happened, and who has to do something about it."""
    print_facts(
        [
            ("revoked", target),
            ("signs now", answer.successor or "none"),
            ("revocation", str(answer.revocation_seq)),
            ("enroll again", list(answer.away) or "nobody"),
        ]
    )
    if answer.laggards:
        were = "was" if len(answer.laggards) == 1 else "were"
        names = ", ".join(answer.laggards)
        say_warning(f"{count_of(len(answer.laggards), 'peer')} had not renewed in time, and {were} cut off: {names}")
