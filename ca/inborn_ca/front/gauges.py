"""What the signer measures, as gauges of the front's metrics. Operators know these names: docs/how-to/monitor.md."""

from __future__ import annotations

from inborn_proto import signer_pb2

__all__ = ["signer_gauges"]


def signer_gauges(m: signer_pb2.Measures) -> dict[str, tuple[str, float]]:
    """Name -> (help, value)."""
    return {
        "inborn_ca_open_alarms": ("Alarms that nobody has acknowledged.", m.open_alarms),
        "inborn_ca_issued": ("Certificates signed since the signer started.", m.certificates_issued),
        "inborn_ca_revocation_seq_applied": (
            "How far of the revocation log every connected peer has applied.",
            m.oldest_revocation_seq,
        ),
        "inborn_ca_root_expires": ("End of the root, seconds since 1970.", m.root_expires),
        "inborn_ca_issuing_expires": ("End of the active issuing authority, seconds since 1970.", m.issuing_expires),
        "inborn_ca_crl_expires": ("End of the CRL that runs out first, seconds since 1970.", m.crl_expires),
        "inborn_ca_transactions": ("Groups committed since the signer started.", m.groups),
        "inborn_ca_commands": ("Commands in those groups.", m.jobs),
        "inborn_ca_commands_waiting": ("Commands that wait now.", m.waiting),
        "inborn_ca_database_bytes": ("Size of the database.", m.database_bytes),
    }
