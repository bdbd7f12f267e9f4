"""What the unix attestor says: users, groups and executable. Names are SPIRE's (pure)."""

from __future__ import annotations

import re

from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType, TrustClass

__all__ = ["DECLARATION", "UNIX"]

_NUMBER = re.compile("0|[1-9][0-9]*")


def _is_number(value: str) -> bool:
    return _NUMBER.fullmatch(value) is not None


UNIX = SelectorType(
    name="unix",
    keys=(
        SelectorKey(
            name="uid",
            example="1000",
            says="effective user of the process",
            forger="nobody but root",
            trust=TrustClass.KERNEL,
            is_party_fact=True,
            may_be=_is_number,
            otherwise="has no number",
        ),
        SelectorKey(
            name="user",
            example="web",
            says="name of that user on the agent's host",
            forger="nobody but root",
            trust=TrustClass.KERNEL,
            is_party_fact=True,
        ),
        SelectorKey(
            name="gid",
            example="1000",
            says="effective group",
            forger="nobody but root",
            trust=TrustClass.KERNEL,
            is_party_fact=True,
            may_be=_is_number,
            otherwise="has no number",
        ),
        SelectorKey(
            name="group",
            example="web",
            says="name of that group",
            forger="nobody but root",
            trust=TrustClass.KERNEL,
            is_party_fact=True,
        ),
        SelectorKey(
            name="supplementary_gid",
            example="27",
            says="one of the process's further groups",
            forger="nobody but root",
            trust=TrustClass.KERNEL,
            is_party_fact=True,
            may_be=_is_number,
            otherwise="has no number",
        ),
        SelectorKey(
            name="supplementary_group",
            example="sudo",
            says="name of such a group",
            forger="nobody but root",
            trust=TrustClass.KERNEL,
            is_party_fact=True,
        ),
        # Anybody can run a program and preload a library into it: path and digest are no facts of a party.
        SelectorKey(
            name="path",
            example="/usr/bin/web",
            says="the executable's path",
            forger="every process of that user: LD_PRELOAD, ptrace",
            trust=TrustClass.KERNEL,
        ),
        SelectorKey(
            name="sha256",
            example="DIGEST",
            says="the executable's digest (up to 64 MiB)",
            forger="every process of that user, as with the path",
            trust=TrustClass.KERNEL,
        ),
    ),
)

DECLARATION = AttestorDeclaration(
    kind="unix",
    about="Users, groups and executable of the process, by the kernel's word.",
    types=(UNIX,),
)
