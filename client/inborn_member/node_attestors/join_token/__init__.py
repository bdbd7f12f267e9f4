"""The kind join_token: one string, holding whom to trust and the seed of a signing key."""

from inborn_member.node_attestors.join_token.token_evidence import TokenEvidence

__all__ = ["TokenEvidence"]
