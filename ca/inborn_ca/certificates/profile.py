"""How long things live, and what an X509-SVID and a CA certificate look like (X509-SVID 3 to 5, RFC 5280 4.2.1)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from inborn.errors import RequestError

__all__ = [
    "AUTHORITY_EXTENSIONS",
    "AUTHORITY_KEY_USAGE",
    "ISSUING_LIFE_FACTOR",
    "SERIAL_OCTETS",
    "SVID_CONSTRAINTS",
    "SVID_EXTENDED_KEY_USAGE",
    "SVID_EXTENSIONS",
    "SVID_KEY_USAGE",
    "InvalidLifetimes",
    "Lifetimes",
]

ISSUING_LIFE_FACTOR = 6
"""An issuing authority lives at least this many longest SVIDs: it is active until five sixths of its life, and what it
signs last must not be cut short by its end."""

SERIAL_OCTETS = 19  # see serial.py; RFC 5280 4.1.2.2 allows 20

SVID_CONSTRAINTS = x509.BasicConstraints(ca=False, path_length=None)

SVID_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

SVID_EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])

SVID_EXTENSIONS = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)
"""All of these, and no other."""

AUTHORITY_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)

AUTHORITY_EXTENSIONS = SVID_EXTENSIONS - {ExtensionOID.EXTENDED_KEY_USAGE}
"""All of these, and no other. A root has an authority key identifier as well: its own."""


class InvalidLifetimes(RequestError):
    """Lifetimes that do not fit each other; the message names the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long everything lives. Valid if it exists."""

    root: dt.timedelta = dt.timedelta(days=3650)
    issuing: dt.timedelta = dt.timedelta(days=60)
    workload_default: dt.timedelta = dt.timedelta(hours=1)
    workload_min: dt.timedelta = dt.timedelta(minutes=1)
    workload_max: dt.timedelta = dt.timedelta(hours=24)
    agent: dt.timedelta = dt.timedelta(days=7)
    agent_renewal: dt.timedelta = dt.timedelta(days=1)
    """An agent renews this long after the issue, so that a machine that was off for a weekend comes back."""
    daemon: dt.timedelta = dt.timedelta(hours=24)
    daemon_max: dt.timedelta = dt.timedelta(days=7)
    front: dt.timedelta = dt.timedelta(hours=24)
    log: dt.timedelta = dt.timedelta(days=7)
    """Of the certificate for the key that signs the feeds."""
    health: dt.timedelta = dt.timedelta(minutes=1)
    crl_issuing: dt.timedelta = dt.timedelta(hours=24)
    crl_root: dt.timedelta = dt.timedelta(days=90)
    backdate: dt.timedelta = dt.timedelta(seconds=30)
    """For the clocks of peers that lag behind."""
    crl_backdate: dt.timedelta = dt.timedelta(seconds=60)
    """The same for CRLs, and the room for a burst: thisUpdate must rise by a second with each."""
    token: dt.timedelta = dt.timedelta(minutes=10)
    ledger_retention: dt.timedelta = dt.timedelta(days=30)
    """How long a row of the ledger is kept after its certificate has expired."""
    audit_retention: dt.timedelta = dt.timedelta(days=365)

    def __post_init__(self) -> None:
        for each in fields(self):
            life = getattr(self, each.name)
            if life <= dt.timedelta():
                raise InvalidLifetimes(f"lifetime {each.name} is not positive: {life}")
        if not self.workload_min <= self.workload_default <= self.workload_max:
            raise InvalidLifetimes(
                f"default life of a workload's SVID {self.workload_default} is not between "
                f"{self.workload_min} and {self.workload_max}"
            )
        if self.daemon > self.daemon_max:
            raise InvalidLifetimes(f"life of a daemon's SVID {self.daemon} is above its maximum {self.daemon_max}")
        if self.agent_renewal >= self.agent:
            raise InvalidLifetimes(f"an agent renews after {self.agent_renewal}, its SVID lives {self.agent}")
        if self.issuing < ISSUING_LIFE_FACTOR * self.longest_svid:
            raise InvalidLifetimes(
                f"an issuing authority lives {self.issuing}, less than {ISSUING_LIFE_FACTOR} times the longest SVID, "
                f"{self.longest_svid}"
            )
        if self.root < self.issuing:
            raise InvalidLifetimes(f"the root lives {self.root}, less than an issuing authority, {self.issuing}")

    @property
    def longest_svid(self) -> dt.timedelta:
        return max(self.workload_max, self.agent, self.daemon_max, self.front, self.log, self.health)
