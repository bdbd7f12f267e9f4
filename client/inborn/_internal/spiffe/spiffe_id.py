"""SPIFFE IDs and trust domain names (SPIFFE-ID 2), parsed strictly.

There is one parser for everything that arrives in a certificate, a token or a message, and it refuses what is not
in the normal form: no upper case in scheme or trust domain, no percent-encoding, no empty or dot segments, nothing
after the path. `from_operator_input` is for what a person typed: it lower-cases scheme and trust domain first.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from inborn.errors import RequestError

__all__ = [
    "ALIAS_SUFFIX",
    "MAX_ID_LENGTH",
    "RESERVED_PREFIX",
    "InvalidSpiffeId",
    "SpiffeId",
    "TrustDomain",
    "from_operator_input",
    "parse_spiffe_id",
    "parse_trust_domain",
]

MAX_ID_LENGTH = 2048  # bytes, SPIFFE-ID 2.3: what every implementation must take
_MAX_TRUST_DOMAIN_LENGTH = 255  # bytes, RFC 3986 3.2.2

RESERVED_PREFIX = "/inborn/"
"""Path under which everything of Inborn's own lies; no entry and no token can name it."""

ALIAS_SUFFIX = ".spiffe.alt"
"""Ending of the DNS alias of an ID; .alt is never in the DNS (RFC 9476)."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


class InvalidSpiffeId(RequestError):
    """A string is not a SPIFFE ID; the message names the rule."""


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """A trust domain's bare name, `example.org`: valid if it exists (SPIFFE-ID 2.1)."""

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidSpiffeId("trust domain is empty")
        if len(self.name) > _MAX_TRUST_DOMAIN_LENGTH:
            raise InvalidSpiffeId(f"trust domain is longer than {_MAX_TRUST_DOMAIN_LENGTH} bytes: {len(self.name)}")
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise InvalidSpiffeId(f"trust domain has a character other than a-z 0-9 . _ -: {_shown(self.name)}")

    def __str__(self) -> str:
        return self.name

    @property
    def id(self) -> SpiffeId:
        """The ID of the trust domain itself, which has no path."""
        return SpiffeId(trust_domain=self, path="")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A SPIFFE ID: valid if it exists. `path` is empty or begins with a slash.

    An ID without a path is valid here and is refused where a workload's is wanted (X509-SVID 2).
    """

    trust_domain: TrustDomain
    path: str = ""

    def __post_init__(self) -> None:
        if self.path:
            if not self.path.startswith("/"):
                raise InvalidSpiffeId(f"path does not begin with a slash: {_shown(self.path)}")
            for segment in self.path[1:].split("/"):
                if not segment:
                    raise InvalidSpiffeId(f"path has an empty segment: {_shown(self.path)}")
                if segment in (".", ".."):
                    raise InvalidSpiffeId(f"path has a dot segment: {_shown(self.path)}")
                if not _SEGMENT.fullmatch(segment):
                    raise InvalidSpiffeId(f"path has a character other than A-Z a-z 0-9 . _ -: {_shown(self.path)}")
        length = len("spiffe://") + len(self.trust_domain.name) + len(self.path)
        if length > MAX_ID_LENGTH:
            raise InvalidSpiffeId(f"id is longer than {MAX_ID_LENGTH} bytes: {length}")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain.name}{self.path}"

    @property
    def is_reserved(self) -> bool:
        """Whether the ID lies under the path that Inborn keeps for itself."""
        return f"{self.path}/".startswith(RESERVED_PREFIX)

    @property
    def alias(self) -> str:
        """The DNS name by which a stock TLS client can pin exactly this ID."""
        digest = hashlib.sha256(str(self).encode()).digest()
        return base64.b32encode(digest).decode().rstrip("=").lower() + ALIAS_SUFFIX

    def is_at_or_below(self, prefix: SpiffeId) -> bool:
        """Whether this ID is `prefix` or lies below it, by whole path segments."""
        return self.trust_domain == prefix.trust_domain and (
            self.path == prefix.path or self.path.startswith(prefix.path + "/")
        )

    def child(self, *segments: str) -> SpiffeId:
        """The ID that lies below this one by the given path segments, one for each argument."""
        for segment in segments:
            if "/" in segment:
                raise InvalidSpiffeId(f"path segment has a slash: {_shown(segment)}")
        return SpiffeId(trust_domain=self.trust_domain, path=self.path + "".join(f"/{s}" for s in segments))


def parse_spiffe_id(text: str) -> SpiffeId:
    """Parse an ID in its normal form. Raises `InvalidSpiffeId` for everything else."""
    if not text.startswith("spiffe://"):
        raise InvalidSpiffeId(f"id does not begin with spiffe://: {_shown(text)}")
    if len(text) > MAX_ID_LENGTH:
        raise InvalidSpiffeId(f"id is longer than {MAX_ID_LENGTH} bytes: {len(text)}")
    name, slash, path = text[len("spiffe://") :].partition("/")
    return SpiffeId(trust_domain=TrustDomain(name), path=slash + path)


def parse_trust_domain(text: str) -> TrustDomain:
    """Parse a trust domain given as a bare name or as its ID (`spiffe://example.org`)."""
    if text.startswith("spiffe://"):
        spiffe_id = parse_spiffe_id(text)
        if spiffe_id.path:
            raise InvalidSpiffeId(f"trust domain has a path: {_shown(text)}")
        return spiffe_id.trust_domain
    return TrustDomain(text)


def from_operator_input(text: str) -> SpiffeId:
    """Parse what a person typed: scheme and trust domain may be in upper case, blanks around it are dropped.

    Letters beyond ASCII are refused first: some of them are ASCII in lower case (KELVIN SIGN), and a look-alike must
    not become another name.
    """
    if not text.isascii():
        raise InvalidSpiffeId(f"id has a character beyond ASCII: {_shown(text)}")
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    name, slash, path = rest.partition("/")
    return parse_spiffe_id(scheme.lower() + separator + name.lower() + slash + path)


def _shown(text: str) -> str:
    """The text as an error may show it: one line, ASCII, short."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
