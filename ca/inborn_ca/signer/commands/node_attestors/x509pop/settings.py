"""Whose certificates let agents in: set, shown and removed by an admin, kept in the database.

In the database and not in a file or a flag: what an admin changes has an audit row in the same transaction, goes along
in a backup, and is one and the same for every CA on a database. The signer reads no file that somebody else can write.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.enrollment.x509pop import fingerprint
from inborn.errors import NotFoundError, RequestError
from inborn_ca.model.records import AuthorityRecord
from inborn_ca.signer.changes import Changes
from inborn_ca.signer.commands import audit
from inborn_ca.signer.commands.node_attestors.x509pop.certificate_path import UntrustedNode, check_authority
from inborn_ca.signer.commands.node_attestors.x509pop.path_template import DEFAULT_TEMPLATE, PathTemplate
from inborn_ca.signer.queue import Finish
from inborn_ca.signer.state import SignerState, spki_of
from inborn_ca.store.interface import Reader, Transaction
from inborn_proto import admin_pb2

__all__ = ["X509PopCommands", "X509PopSettings", "read_settings"]

MAX_BUNDLE = 128 * 1024  # bytes of PEM: sixteen certificates of 6 KiB, with comments
MAX_AUTHORITIES = 16  # an enterprise has one root, or two while it is replaced; each is tried for each enrollment

_META = "node_attestor.x509pop"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class X509PopSettings:
    """What an admin has set."""

    authorities: tuple[x509.Certificate, ...]
    template: PathTemplate


def read_settings(reader: Reader) -> X509PopSettings | None:
    """None: this CA takes no certificates."""
    text = reader.meta.get(_META)
    return _parsed(text) if text else None


@lru_cache(maxsize=2)
def _parsed(text: str) -> X509PopSettings:
    document = json.loads(text)
    authorities = x509.load_pem_x509_certificates(document["ca_bundle"].encode())
    return X509PopSettings(authorities=tuple(authorities), template=PathTemplate(text=document["path_template"]))


class X509PopCommands:
    """Commands and reads behind `inborn x509pop`."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def set(self, request: admin_pb2.SetX509PopRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """Replace what was set; finishes with an `X509Pop`. Raises `RequestError`, `InvalidTemplate`."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            now = self._state.clock()
            authorities = _read_bundle(request.ca_bundle, now)
            _check_not_ours(authorities, self._state.authorities)
            template = PathTemplate(text=request.path_template or DEFAULT_TEMPLATE)
            pem = b"".join(a.public_bytes(Encoding.PEM) for a in authorities).decode()
            tx.meta.set(_META, json.dumps({"ca_bundle": pem, "path_template": template.text}))
            settings = X509PopSettings(authorities=authorities, template=template)
            tx.audit.add(audit.row(now, actor, "x509pop.set", "x509pop", detail=_detail(settings)))
            return lambda: _message(settings)

        return command

    def remove(self, request: admin_pb2.RemoveX509PopRequest, actor: str) -> Callable[[Transaction, Changes], Finish]:
        """No certificate lets anybody in from now on; finishes with the `X509Pop` that is gone."""

        def command(tx: Transaction, changes: Changes) -> Finish:
            settings = _existing(tx)
            tx.meta.set(_META, "")
            now = self._state.clock()
            tx.audit.add(audit.row(now, actor, "x509pop.remove", "x509pop", detail=_detail(settings)))
            return lambda: _message(settings)

        return command

    def get(self, reader: Reader) -> admin_pb2.X509Pop:
        return _message(_existing(reader))


def _existing(reader: Reader) -> X509PopSettings:
    settings = read_settings(reader)
    if settings is None:
        raise NotFoundError("x509pop is not set up", hint="inborn x509pop set --ca-bundle FILE")
    return settings


def _read_bundle(pem: bytes, now: dt.datetime) -> tuple[x509.Certificate, ...]:
    if len(pem) > MAX_BUNDLE:
        raise RequestError(f"CA bundle is larger than {MAX_BUNDLE} bytes: {len(pem)}")
    labels = _BLOCK.findall(pem)
    foreign = next((label for label in labels if label != b"CERTIFICATE"), None)
    if foreign is not None:
        raise RequestError(f"CA bundle has a block {foreign.decode()!a}, only certificates belong there")
    if not 1 <= len(labels) <= MAX_AUTHORITIES:
        raise RequestError(f"CA bundle has {len(labels)} certificates, 1 to {MAX_AUTHORITIES} are taken")
    try:
        authorities = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as e:
        raise RequestError("CA bundle is not certificates in PEM") from e
    if len(authorities) != len(labels) or len(set(authorities)) != len(authorities):
        raise RequestError("CA bundle has a block that is cut off, or a certificate twice")
    for authority in authorities:
        try:
            check_authority(authority, now=now)
        except UntrustedNode as e:
            raise RequestError(f"CA bundle cannot be used: {e.message}") from e
    return authorities


def _check_not_ours(authorities: Sequence[x509.Certificate], ours: Sequence[AuthorityRecord]) -> None:
    """With our own authority in it, every workload could make itself an agent."""
    own = {spki_of(record.certificate.public_key()) for record in ours}  # type: ignore[arg-type]
    for authority in authorities:
        if spki_of(authority.public_key()) in own:  # type: ignore[arg-type]
            raise RequestError(
                "CA bundle has an authority of this trust domain: every workload could make itself an agent"
            )


def _detail(settings: X509PopSettings) -> dict[str, object]:
    digests = [authority.fingerprint(hashes.SHA256()).hex() for authority in settings.authorities]
    return {"authorities_sha256": digests, "path_template": settings.template.text}


def _message(settings: X509PopSettings) -> admin_pb2.X509Pop:
    message = admin_pb2.X509Pop(path_template=settings.template.text)
    for authority in settings.authorities:
        one = message.authorities.add(
            subject=authority.subject.rfc4514_string()[:1024], fingerprint=fingerprint(authority)
        )
        one.not_after.FromDatetime(authority.not_valid_after_utc)
    return message
