"""`inborn ca backup`. (`ca run` and `ca restore` are the CA's own.)"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from inborn._internal.host.talk import say
from inborn._internal.rpc.admin_client import AdminClient
from inborn._internal.wire import admin_methods
from inborn.errors import RequestError
from inborn_cli.options import admin_options, example, json_option
from inborn_cli.output import as_document, print_data, print_document
from inborn_cli.typed_values import count_of
from inborn_proto import admin_pb2 as pb

__all__ = ["backup"]

# A passphrase is typed or generated; a larger file is another file given by mistake.
_MAX_PASSPHRASE = 1024
# Ten million rows are some GiB to copy.
_PATIENCE = 1800.0  # seconds


@click.command(
    help="Back up the CA's database while it runs, to FILE on the CA's host (which must not exist).\n\n"
    "Without a passphrase the keys stay out, and restoring it takes the old keys directory.\n\n"
    + example("inborn ca backup /var/backups/inborn.backup --passphrase-file /root/inborn.pass")
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--passphrase-file", type=click.File("rb"), help="Put the keys in, encrypted with this; - is standard input."
)
@json_option
@admin_options
def backup(ca: AdminClient, file: Path, passphrase_file: IO[bytes] | None, is_json: bool) -> None:
    passphrase = b""
    if passphrase_file is not None:
        passphrase = _read_passphrase(passphrase_file.read(_MAX_PASSPHRASE + 3))
    request = pb.BackupRequest(path=str(file.absolute()), passphrase=passphrase)
    answer = ca.call(admin_methods.BACKUP, request, timeout=_PATIENCE)
    if is_json:
        print_document(as_document(answer))
        return
    print_data(answer.path)
    keys = "with the keys, encrypted" if answer.with_keys else "without keys"
    say(f"{count_of(answer.size_bytes, 'byte')}, {keys}")


def _read_passphrase(octets: bytes) -> bytes:
    """The file's content without the line's end."""
    passphrase = octets.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise RequestError("passphrase is empty")
    if len(passphrase) > _MAX_PASSPHRASE:
        raise RequestError(f"passphrase is longer than {_MAX_PASSPHRASE} bytes")
    return passphrase
