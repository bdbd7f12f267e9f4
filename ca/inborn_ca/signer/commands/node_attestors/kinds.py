"""The kinds that this CA believes. A new kind is a folder here, one on the joiner's side, and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from inborn_ca.signer.commands.node_attestors.join_token.attestor import JoinTokenAttestor
from inborn_ca.signer.commands.node_attestors.node_attestor import NodeAttestor
from inborn_ca.signer.commands.node_attestors.x509pop.attestor import X509PopAttestor
from inborn_ca.signer.state import SignerState

__all__ = ["node_attestors"]


def node_attestors(state: SignerState) -> Mapping[str, NodeAttestor]:
    """Each kind's attestor, by its name."""
    attestors: tuple[NodeAttestor, ...] = (JoinTokenAttestor(state.trust_domain), X509PopAttestor(state.trust_domain))
    return {attestor.kind: attestor for attestor in attestors}
