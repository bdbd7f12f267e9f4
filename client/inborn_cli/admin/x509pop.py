"""`inborn x509pop`: whose certificates let agents in, and how those agents are called."""

from __future__ import annotations

from pathlib import Path

import click

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import admin_options, example, json_option
from inborn_cli.output import as_document, print_document, print_facts, time_or_none, time_text
from inborn_cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["remove", "set_authorities", "show"]

_MAX_BUNDLE = 128 * 1024  # bytes, as the CA takes them


@click.command(
    help="Let agents in that show a certificate of one of these CAs, and prove that they have its key. It replaces "
    "what was set before. Whoever gets a certificate for client authentication from one of these CAs can become an "
    "agent: name a CA that issues to machines alone.\n\n"
    "The template makes the agents' IDs, below /inborn/agent/. It begins with {{ .PluginName }}/ and has one or more "
    "of {{ .Fingerprint }}, {{ .Subject.CommonName }}, {{ .SerialNumberHex }}.\n\n"
    + example("inborn x509pop set --ca-bundle machines-ca.pem")
)
@click.option(
    "--ca-bundle",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="PEM: the certificates of 1 to 16 CAs.",
)
@click.option(
    "--path-template",
    metavar="TEMPLATE",
    default="",
    help="How agents are called (default: {{ .PluginName }}/{{ .Fingerprint }}).",
)
@json_option
@admin_options
def set_authorities(ca: AdminClient, ca_bundle: Path, path_template: str, is_json: bool) -> None:
    with open(ca_bundle, "rb") as file:
        octets = file.read(_MAX_BUNDLE + 1)
    request = pb.SetX509PopRequest(ca_bundle=octets, path_template=path_template)
    answer = ca.call(admin_methods.SET_X509POP, request)
    if is_json:
        print_document(as_document(answer))
        return
    say(f"certificates of {count_of(len(answer.authorities), 'CA')} let agents in")
    say("on another machine, with the roots from 'inborn bundle show' in roots.pem:")
    say("  inborn agent run --node-attestor x509pop --certificate FILE --key FILE --ca HOST:PORT --bundle roots.pem")


@click.command(help="Show the CAs whose certificates let agents in.\n\n" + example("inborn x509pop show"))
@json_option
@admin_options
def show(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call(admin_methods.GET_X509POP, pb.GetX509PopRequest())
    if is_json:
        print_document(as_document(answer))
    else:
        _print(answer)


def _print(answer: pb.X509Pop) -> None:
    authorities = [
        f"{a.subject} (selector x509pop:ca:fingerprint:{a.fingerprint}, until {time_text(time_or_none(a.not_after))})"
        for a in answer.authorities
    ]
    print_facts([("path template", answer.path_template), ("authorities", authorities)])


@click.command(
    help="Let no certificate in any more. Agents that have enrolled go on: 'inborn agent ban' ends one.\n\n"
    + example("inborn x509pop remove")
)
@json_option
@admin_options
def remove(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call(admin_methods.REMOVE_X509POP, pb.RemoveX509PopRequest())
    if is_json:
        print_document(as_document(answer))
    else:
        say(
            f"certificates of {count_of(len(answer.authorities), 'CA')} let nobody in any more; agents that are in stay"
        )
