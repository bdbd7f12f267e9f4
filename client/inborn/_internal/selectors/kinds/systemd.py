"""What the systemd attestor says: the unit that the system manager put a process in. Names are SPIRE's (pure)."""

from __future__ import annotations

from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType, TrustClass

__all__ = ["DECLARATION", "SYSTEMD"]

SYSTEMD = SelectorType(
    name="systemd",
    keys=(
        SelectorKey(
            name="id",
            example="web.service",
            says="the unit that the system manager put it in",
            forger="root",
            trust=TrustClass.RUNTIME,
            is_party_fact=True,
        ),
        SelectorKey(
            name="fragment_path",
            example="/etc/systemd/system/web.service",
            says="that unit's file",
            forger="root",
            trust=TrustClass.RUNTIME,
            is_party_fact=True,
        ),
    ),
)

DECLARATION = AttestorDeclaration(
    kind="systemd",
    about="The unit of the system manager, read from the process's control group.",
    types=(SYSTEMD,),
)
