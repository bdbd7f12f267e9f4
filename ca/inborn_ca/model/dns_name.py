"""DNS names that an entry may ask for: host names in their normal form, and none that means something to Inborn."""

from __future__ import annotations

import re
from collections.abc import Collection

from inborn._internal.spiffe.spiffe_id import ALIAS_SUFFIX
from inborn.errors import RequestError

__all__ = ["InvalidDnsName", "check_dns_name", "is_at_or_below"]

MAX_LENGTH = 253  # characters, RFC 1035 2.3.4 in text form
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 2.1; 63 characters at most


class InvalidDnsName(RequestError):
    """A string is not a DNS name that a certificate may carry; the message names the rule."""


def check_dns_name(name: str, *, forbidden: Collection[str] = ()) -> None:
    """Refuse what is not a plain host name, and what lies at or under a reserved name.

    Reserved are `spiffe.alt`, where the aliases of SPIFFE IDs live (a name there would let its holder be taken for
    somebody else), and `forbidden`: the names of the CA itself. Not checked: that the name exists, or whose it is.
    Raises `InvalidDnsName`.
    """
    if "*" in name:
        raise InvalidDnsName(f"DNS name {_shown(name)} is a wildcard, which would be everybody's name")
    if name != name.lower():
        raise InvalidDnsName(f"DNS name {_shown(name)} is not in lower case", hint=f"write {ascii(name.lower())[:80]}")
    if len(name) > MAX_LENGTH:
        raise InvalidDnsName(f"DNS name is longer than {MAX_LENGTH} characters: {len(name)}")
    labels = name.split(".")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise InvalidDnsName(f"DNS name {_shown(name)} has the label {_shown(label)}, which is no host name's")
    if labels[-1].isdigit():
        raise InvalidDnsName(f"DNS name {_shown(name)} ends in a number, as an IP address does")
    for reserved in (ALIAS_SUFFIX[1:], *forbidden):
        if is_at_or_below(name, reserved):
            raise InvalidDnsName(f"DNS name {_shown(name)} lies at or under {reserved}, which is reserved")


def is_at_or_below(name: str, parent: str) -> bool:
    """Whether `name` is `parent` or lies under it, by whole labels; case and a final dot do not count."""
    name, parent = name.lower().rstrip("."), parent.lower().rstrip(".")
    return name == parent or name.endswith(f".{parent}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")
