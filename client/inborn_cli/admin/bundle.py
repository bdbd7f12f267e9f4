"""`inborn bundle show`: the roots of the trust domain."""

from __future__ import annotations

import sys

import click

from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn_cli.options import admin_options, example, json_option
from inborn_cli.output import print_data, print_document
from inborn_proto import admin_pb2 as pb

__all__ = ["show"]


@click.command(
    help="Print the roots of the trust domain, as PEM or as a SPIFFE bundle; or their digest, which an agent that "
    "enrolls with x509pop can pin.\n\n" + example("inborn bundle show --format spiffe > bundle.json")
)
@click.option("--format", "form", type=click.Choice(["pem", "spiffe", "pin"]), default="pem", show_default=True)
@json_option
@admin_options
def show(ca: AdminClient, form: str, is_json: bool) -> None:
    from inborn._internal.spiffe.spiffe_id import parse_trust_domain
    from inborn._internal.spiffe.x509_bundle import X509Bundle

    answer = ca.call(admin_methods.GET_BUNDLE, pb.GetBundleRequest())
    bundle = X509Bundle.parse(parse_trust_domain(answer.trust_domain), list(answer.roots))
    if is_json:
        print_document(
            {
                "trust_domain": answer.trust_domain,
                "sequence": answer.sequence,
                "digest": answer.digest,
                "roots_pem": bundle.pem().decode(),
            }
        )
    elif form == "spiffe":
        print_data(bundle.spiffe_json(sequence=answer.sequence))
    elif form == "pin":
        print_data(answer.digest)
    else:
        sys.stdout.write(bundle.pem().decode())
