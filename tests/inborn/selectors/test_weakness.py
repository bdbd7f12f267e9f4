"""What an entry's selectors do not prove."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.weakness import weaknesses


def found(*selectors: str, is_any_node: bool = False) -> str:
    return "; ".join(weaknesses([parse_selector(s) for s in selectors], is_any_node=is_any_node))


@pytest.mark.parametrize(
    "selectors",
    [
        ("unix:uid:1000",),
        ("unix:path:/opt/web", "unix:supplementary_gid:7"),
        ("systemd:id:web.service",),
        ("docker:image_config_digest:sha256:00",),
        ("docker:label:app:web", "unix:uid:1000"),
        ("posture:seccomp:filter", "posture:lsm:whatever_t", "unix:uid:1000"),
    ],
)
def test_an_entry_with_a_fact_that_another_user_cannot_have_is_fine(selectors: tuple[str, ...]) -> None:
    assert found(*selectors) == ""


@pytest.mark.parametrize(
    ("selectors", "warning"),
    [
        (("unix:path:/opt/web", "unix:sha256:00"), "tells programs apart, not parties"),
        (("unix:path:/opt/web", "posture:rootfs:ro"), "tells programs apart, not parties"),
        (("docker:label:app:web", "docker:env:A=b", "docker:image_id:web:1"), "whoever started the workload"),
        (("rootless:image_config_digest:sha256:00",), "whoever started the workload"),
        (("posture:seccomp:filter", "posture:rootfs:ro"), "rests on posture alone"),
        (("unix:uid:0", "posture:cap_eff_lacks:CAP_CHOWN"), "no process ever matches: posture:cap_eff_lacks:CAP_CHOWN"),
        (("unix:uid:web",), "no process ever matches: unix:uid:web has no number"),
        (("unix:uid:01000",), "no process ever matches: unix:uid:01000 has no number"),
        (("unix:uid:0", "k8s:ns:default"), "no process ever matches: no agent produces selectors of type k8s"),
        (("unix:uid:0", "unix:uuid:5"), "no process ever matches: no agent produces unix:uuid"),
        (("unix:uuid:5",), "whoever started the workload"),
        (("unix:path",), "no process ever matches: unix:path has no value"),
        (("unix:uid:0", "docker:image-signature:verified"), "no agent produces docker:image-signature"),
    ],
)
def test_an_entry_that_rests_on_too_little_is_told_what_it_does_not_prove(
    selectors: tuple[str, ...], warning: str
) -> None:
    assert warning in found(*selectors)


def test_an_entry_for_any_node_counts_wherever_an_agent_is_enrolled() -> None:
    assert "any node" in found("unix:uid:1000", is_any_node=True)
