"""`inborn posture`: what every workload under an ID must be able to show, whatever its entry says."""

from __future__ import annotations

import textwrap

import click

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.selectors.demand import WORDS
from inborn._internal.selectors.kinds.posture import LISTED
from inborn._internal.wire import admin_methods
from inborn_cli.options import DEMAND, SPIFFE_ID, admin_options, example, json_option
from inborn_cli.output import as_document, print_data, print_document, print_table_or_json, time_or_none, time_text
from inborn_proto import admin_pb2 as pb

__all__ = ["create", "delete", "list_policies"]

_WORD_OF = {demand: word for word, demand in WORDS.items()}
_LACKS = "posture:cap_eff_lacks:"


def _words() -> str:
    """The words with what they stand for, for the help."""
    width = max(map(len, WORDS)) + 2
    lines = [f"  {word:<{width}}{demand.replace('|', ' | ')}" for word, demand in WORDS.items()]
    lines.append(f"  {'no-CAP_NAME':<{width}}{_LACKS}CAP_NAME, where CAP_NAME is one of")
    names = textwrap.wrap(", ".join(sorted(LISTED)), 76 - width)
    lines += [f"  {'':<{width}}{names_in_line}" for names_in_line in names]
    return "\b\nDemands:\n" + "\n".join(lines)


@click.command(
    help="Demand something of every workload at or below an ID; print the policy's ID. All demands hold; one selector "
    "of a demand is enough. It holds at once for what is issued and for what agents give out; what was given lives "
    "to its next renewal, at most to its end.\n\n"
    + _words()
    + "\n\nA demand may also be selectors joined by |.\n\n"
    + example(
        "inborn posture create --id-prefix spiffe://example.org/prod --demand seccomp --demand no-CAP_SYS_ADMIN "
        "--demand not-host-userns"
    )
)
@click.option("--id-prefix", type=SPIFFE_ID, required=True, help="The ID below which it holds, and itself.")
@click.option(
    "--demand", "demands", type=DEMAND, multiple=True, required=True, help="A word, or selectors joined by |."
)
@click.option("--note", default="", help="Why, for whoever reads it later.")
@json_option
@admin_options
def create(ca: AdminClient, id_prefix: str, demands: tuple[str, ...], note: str, is_json: bool) -> None:
    request = pb.CreatePosturePolicyRequest(id_prefix=id_prefix, demands=demands, note=note)
    policy = ca.call(admin_methods.CREATE_POSTURE_POLICY, request)
    if is_json:
        print_document(as_document(policy))
    else:
        print_data(policy.id)
        say(f"holds for {_entries(policy.entries)} now")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


@click.command(help="List the posture policies.\n\n" + example("inborn posture list"))
@json_option
@admin_options
def list_policies(ca: AdminClient, is_json: bool) -> None:
    answer = ca.call(admin_methods.LIST_POSTURE_POLICIES, pb.ListPosturePoliciesRequest())
    headers = ["ID", "ID PREFIX", "DEMANDS", "ENTRIES", "CREATED", "BY", "NOTE"]
    rows = (
        [
            policy.id,
            policy.id_prefix,
            " ".join(map(_word, policy.demands)),
            str(policy.entries),
            time_text(time_or_none(policy.created_at)) or "",
            policy.created_by,
            policy.note,
        ]
        for policy in answer.policies
    )
    print_table_or_json(is_json, answer.policies, headers, rows, none="no policies")


def _word(demand: str) -> str:
    """The word for a demand, or itself where there is none."""
    if demand.startswith(f"{_LACKS}CAP_") and "|" not in demand:
        return f"no-{demand.removeprefix(_LACKS)}"
    return _WORD_OF.get(demand, demand)


@click.command(
    help="Delete a policy: what it demanded is demanded no more, unless another policy does.\n\n"
    + example("inborn posture delete 7c9e6679-7425-40de-944b-e07fc1f90ae7")
)
@click.argument("policy_id", metavar="ID")
@json_option
@admin_options
def delete(ca: AdminClient, policy_id: str, is_json: bool) -> None:
    policy = ca.call(admin_methods.DELETE_POSTURE_POLICY, pb.DeletePosturePolicyRequest(id=policy_id))
    if is_json:
        print_document(as_document(policy))
    else:
        say(f"policy {policy.id} for {policy.id_prefix} is deleted")
