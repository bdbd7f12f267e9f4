"""Kinds as they lie in the ledger: a number each, which is never used anew."""

from __future__ import annotations

from inborn_ca.model.records import CertificateKind, SvidKind

__all__ = ["KINDS", "KIND_NUMBERS", "SVID_KINDS", "SVID_KIND_NUMBERS"]

KIND_NUMBERS = {
    CertificateKind.WORKLOAD: 1,
    CertificateKind.AGENT: 2,
    CertificateKind.DAEMON: 3,
    CertificateKind.FRONT: 4,
    CertificateKind.LOG: 5,
    CertificateKind.HEALTH: 6,
}
KINDS = {number: kind for kind, number in KIND_NUMBERS.items()}

SVID_KIND_NUMBERS = {SvidKind.X509: 1, SvidKind.JWT: 2}
SVID_KINDS = {number: kind for kind, number in SVID_KIND_NUMBERS.items()}
