"""`inborn token`: make, list and withdraw join tokens."""

from __future__ import annotations

import datetime as dt

import click

from inborn._internal.address import InvalidAddress, parse_address
from inborn._internal.host.talk import say, say_warning
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import LIFE, SPIFFE_ID, admin_options, example, json_option, whole_seconds
from inborn_cli.output import as_document, print_data, print_document, print_table_or_json, time_or_none, time_text
from inborn_cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["create", "list_tokens", "revoke"]


@click.command(
    help="Make a join token, and print it: once, the CA keeps its public half only.\n\n"
    "By itself it lets one new agent in; with --agent the same agent anew; with --id one daemon without an agent, "
    "under that very ID.\n\n" + example("inborn token create --name web1 --group web --ttl 10m")
)
@click.option("--ttl", type=LIFE, help="How long it can be used (default: 10m).")
@click.option("--uses", type=click.IntRange(1, 2**32 - 1), help="How many keys can enroll with it (default: 1).")
@click.option("--id", "spiffe_id", type=SPIFFE_ID, help="Enroll a daemon without an agent, under this ID.")
@click.option("--agent", help="Enroll this agent anew: its ID or its name.")
@click.option("--name", help="Name of the new agent, for entries.")
@click.option("--group", "groups", multiple=True, help="Group of the new agent, for entries; may be given again.")
@json_option
@admin_options
def create(
    ca: AdminClient,
    ttl: dt.timedelta | None,
    uses: int | None,
    spiffe_id: str | None,
    agent: str | None,
    name: str | None,
    groups: tuple[str, ...],
    is_json: bool,
) -> None:
    if spiffe_id and (agent or name or groups):
        raise click.UsageError("--id is for a daemon without an agent: --agent, --name and --group do not go with it")
    if agent and (name or groups):
        raise click.UsageError("--agent enrolls an agent under the names it has: --name and --group do not go with it")
    request = pb.CreateTokenRequest(
        ttl_seconds=whole_seconds(ttl),
        uses=uses or 0,
        spiffe_id=spiffe_id or "",
        agent=agent or "",
        name=name or "",
        groups=groups,
    )
    answer = ca.call(admin_methods.CREATE_TOKEN, request)
    if is_json:
        print_document(as_document(answer))
        return
    print_data(answer.token)
    uses_text = "once" if answer.info.uses == 1 else f"by {answer.info.uses} keys"
    say(f"can be used {uses_text}, until {time_text(time_or_none(answer.info.expires_at))}")
    if spiffe_id:
        say("in the daemon, with the token in a file of mode 0600:")
        say(f'  inborn.enroll(ca="{answer.bootstrap_address}", join_token_file="FILE")')
    else:
        say("on the other machine, with the token on standard input:")
        say(f"  inborn agent run --ca {answer.bootstrap_address} --join-token-file -")
    if _is_loopback(answer.bootstrap_address):
        say_warning(f"the CA listens on {answer.bootstrap_address}: no other machine can reach it there")


def _is_loopback(address: str) -> bool:
    try:
        named = parse_address(address)
    except InvalidAddress:  # the CA's own word; whoever joins will be told
        return False
    return named.is_loopback or named.host == "localhost"


@click.command(help="List the tokens that can still be used.\n\n" + example("inborn token list --all"))
@click.option("--all", "is_all", is_flag=True, help="Those that can no longer be used as well.")
@json_option
@admin_options
def list_tokens(ca: AdminClient, is_all: bool, is_json: bool) -> None:
    answer = ca.call(admin_methods.LIST_TOKENS, pb.ListTokensRequest(all=is_all))
    rows = ([t.id, t.kind, _for_whom(t), f"{t.used}/{t.uses}", _end(t), t.created_by] for t in answer.tokens)
    headers = ["ID", "KIND", "FOR", "USED", "EXPIRES", "MADE BY"]
    print_table_or_json(is_json, answer.tokens, headers, rows, none="no tokens")


def _for_whom(token: pb.Token) -> str:
    names = [token.spiffe_id, token.name, *(f"group:{group}" for group in token.groups)]
    return " ".join(name for name in names if name)


def _end(token: pb.Token) -> str:
    withdrawn = time_text(time_or_none(token.withdrawn_at))
    return f"withdrawn {withdrawn}" if withdrawn else time_text(time_or_none(token.expires_at)) or ""


@click.command(
    help="Withdraw the token with this ID, as 'token list' prints it. Who has enrolled with it stays.\n\n"
    + example("inborn token revoke 5d41402abc4b2a76b9719d911017c592")
)
@click.argument("token_id", metavar="ID")
@json_option
@admin_options
def revoke(ca: AdminClient, token_id: str, is_json: bool) -> None:
    answer = ca.call(admin_methods.REVOKE_TOKEN, pb.RevokeTokenRequest(id=token_id))
    if is_json:
        print_document(as_document(answer.token))
    else:
        say(f"token {answer.token.id} is withdrawn; it was used {count_of(answer.token.used, 'time')}")
