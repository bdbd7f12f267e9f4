"""What a node's certificate says of it: names for the template, and selectors as SPIRE has them (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from inborn._internal.enrollment.x509pop import KIND, fingerprint
from inborn._internal.selectors.selector import Selector, SelectorError
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn_ca.signer.commands.node_attestors.x509pop.certificate_path import UntrustedNode

__all__ = ["selectors_of", "values_of"]

MAX_SAN_SELECTORS = 16  # a node has a handful of facts; each is a part of every row that names it

_FACT = re.compile(r"[^:/]{1,64}:.{1,512}")


def values_of(leaf: x509.Certificate) -> dict[str, str]:
    """The variables of a template; an absent common name is empty. Raises `UntrustedNode` for two common names."""
    return {
        ".Fingerprint": fingerprint(leaf),
        ".Subject.CommonName": _common_name(leaf),
        ".SerialNumberHex": _serial_hex(leaf),
    }


def selectors_of(path: Sequence[x509.Certificate], trust_domain: TrustDomain) -> tuple[Selector, ...]:
    """Of a path that was verified: the leaf first, the admin's CA last. Raises `UntrustedNode` for names that cannot be
    selectors: what an entry could never name must not be passed over in silence."""
    leaf = path[0]
    facts = [f"serialnumber:{_serial_hex(leaf)}"]
    if name := _common_name(leaf):
        facts.append(f"subject:cn:{name}")
    facts += [f"ca:fingerprint:{fingerprint(issuer)}" for issuer in path[1:]]
    facts += [f"san:{fact}" for fact in _san_facts(leaf, trust_domain)]
    try:
        return tuple(sorted({Selector(type=KIND, value=fact) for fact in facts}))
    except SelectorError as e:
        raise UntrustedNode(f"certificate says what cannot be a selector: {e.message}") from e


def _common_name(leaf: x509.Certificate) -> str:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) > 1:
        raise UntrustedNode(f"certificate has {len(names)} common names, at most one is taken")
    return str(names[0].value) if names and isinstance(names[0].value, str) else ""


def _serial_hex(leaf: x509.Certificate) -> str:
    return f"{leaf.serial_number:x}"


def _san_facts(leaf: x509.Certificate, trust_domain: TrustDomain) -> list[str]:
    """`KEY:VALUE` out of each URI `x509pop://<trust domain>/KEY:VALUE`; other URIs are somebody else's."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    prefix = f"{KIND}://{trust_domain.name}/"
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(prefix)]
    if len(uris) > MAX_SAN_SELECTORS:
        raise UntrustedNode(f"certificate has {len(uris)} URIs of {prefix}, at most {MAX_SAN_SELECTORS}")
    facts = [uri.removeprefix(prefix) for uri in uris]
    for fact in facts:
        if not _FACT.fullmatch(fact):
            raise UntrustedNode(f"certificate has the URI {prefix}{fact[:80]!a}, which is not of the form KEY:VALUE")
    return facts
