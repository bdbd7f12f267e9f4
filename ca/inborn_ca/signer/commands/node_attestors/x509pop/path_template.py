"""The template of the agents' SPIFFE IDs, in the words of SPIRE's `agent_path_template` (pure).

`{{ .PluginName }}/{{ .Fingerprint }}` lies below `/inborn/agent/`. A template is literal text and five variables, and
no language: what is not one of them is refused when it is set. What comes out always begins with `x509pop/`, so that no
certificate can take the ID of an agent that came with evidence of another kind; and a variable is a segment or a part
of one, so that no name in a certificate adds a segment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from inborn._internal.enrollment.x509pop import KIND
from inborn._internal.spiffe.spiffe_id import InvalidSpiffeId, SpiffeId, TrustDomain, parse_spiffe_id
from inborn.errors import DeniedError, RequestError
from inborn_ca.model.registration_entry import AGENT_PREFIX

__all__ = ["DEFAULT_TEMPLATE", "InvalidTemplate", "PathTemplate", "UnusableName"]

DEFAULT_TEMPLATE = "{{ .PluginName }}/{{ .Fingerprint }}"

MAX_TEMPLATE = 256  # characters: five variables and what is between them

_PLUGIN_NAME = ".PluginName"
_OF_THE_NODE = frozenset({".Fingerprint", ".Subject.CommonName", ".SerialNumberHex"})
_VARIABLES = _OF_THE_NODE | {_PLUGIN_NAME, ".TrustDomain"}

_VARIABLE = re.compile(r"\{\{ ?(\.[A-Za-z.]{1,40}) ?\}\}")
_LITERAL = re.compile(r"[A-Za-z0-9._/-]*")
_VALUE = re.compile(r"[A-Za-z0-9._-]{1,255}")  # what a segment may hold (SPIFFE-ID 2.2)


class InvalidTemplate(RequestError):
    """A text is no template of an agent's path; the message names the rule."""


class UnusableName(DeniedError):
    """A name in a certificate cannot be part of a SPIFFE ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTemplate:
    """A template. Valid if it exists."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > MAX_TEMPLATE:
            raise InvalidTemplate(f"template is longer than {MAX_TEMPLATE} characters: {len(self.text)}")
        literals = _VARIABLE.split(self.text)
        names = literals[1::2]
        for literal in literals[::2]:
            if not _LITERAL.fullmatch(literal):
                raise InvalidTemplate(
                    f"template has {literal[:60]!a}, which is neither a variable nor of A-Z a-z 0-9 . _ - /",
                    hint=f"variables are {', '.join(sorted(_VARIABLES))}, written {{{{ .Fingerprint }}}}",
                )
        unknown = sorted(set(names) - _VARIABLES)
        if unknown:
            raise InvalidTemplate(f"template has the variable {unknown[0]}, known are {', '.join(sorted(_VARIABLES))}")
        if not _OF_THE_NODE & set(names):
            raise InvalidTemplate(
                f"template has none of {', '.join(sorted(_OF_THE_NODE))}: all nodes would have one ID"
            )
        # A trial, with values that are as short as can be.
        values = dict.fromkeys(_VARIABLES, "x") | {_PLUGIN_NAME: KIND}
        try:
            trial = self._render(values, TrustDomain("x"))
        except InvalidSpiffeId as e:
            raise InvalidTemplate(f"template does not make a SPIFFE ID: {e.message}") from e
        if not trial.path.startswith(f"{AGENT_PREFIX}{KIND}/"):
            raise InvalidTemplate(
                f"template must begin with {{{{ .PluginName }}}}/ or {KIND}/",
                hint="so that no certificate takes the ID of an agent that came with evidence of another kind",
            )

    def render(self, values: Mapping[str, str], trust_domain: TrustDomain) -> SpiffeId:
        """The agent's ID. `values` are those of the node. Raises `UnusableName`."""
        everything = {**values, _PLUGIN_NAME: KIND, ".TrustDomain": trust_domain.name}
        for name in _VARIABLE.findall(self.text):
            if not _VALUE.fullmatch(everything[name]):
                raise UnusableName(
                    f"{name} of the certificate is {everything[name][:80]!a}, which cannot be part of a SPIFFE ID"
                )
        try:
            return self._render(everything, trust_domain)
        except InvalidSpiffeId as e:
            raise UnusableName(f"certificate's names do not make a SPIFFE ID: {e.message}") from e

    def _render(self, values: Mapping[str, str], trust_domain: TrustDomain) -> SpiffeId:
        path = _VARIABLE.sub(lambda found: values[found[1]], self.text.removeprefix("/"))
        return parse_spiffe_id(f"{trust_domain.id}{AGENT_PREFIX}{path}")
