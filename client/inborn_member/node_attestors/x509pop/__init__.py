"""The kind x509pop: a certificate of a CA that there is already, and its key."""

from inborn_member.node_attestors.x509pop.certificate_evidence import CertificateEvidence
from inborn_member.node_attestors.x509pop.certificate_files import BundlePin, CertificateFiles, UnusableFile

__all__ = ["BundlePin", "CertificateEvidence", "CertificateFiles", "UnusableFile"]
