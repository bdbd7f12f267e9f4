"""Whose word each selector is, and which of them tell parties apart."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.declaration import TrustClass
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.trust import has_party_boundary, trust_class


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:uid:0", TrustClass.KERNEL),
        ("unix:sha256:00", TrustClass.KERNEL),
        ("posture:seccomp:filter", TrustClass.KERNEL),
        ("systemd:id:nginx.service", TrustClass.RUNTIME),
        ("systemd:fragment_path:/usr/lib/systemd/system/nginx.service", TrustClass.RUNTIME),
        ("systemd:description:nginx", TrustClass.STARTER),
        ("rootless:image_config_digest:sha256:00", TrustClass.STARTER),
        ("docker:image_config_digest:sha256:00", TrustClass.RUNTIME),
        ("docker:image_id:nginx:latest", TrustClass.STARTER),
        ("docker:label:app:web", TrustClass.STARTER),
        ("docker:env:image_config_digest=x", TrustClass.STARTER),
        ("docker:image_config_digest_x:y", TrustClass.STARTER),
        ("unheard_of:x", TrustClass.STARTER),
        ("unix:uuid:5", TrustClass.STARTER),
        ("posture:unheard_of:true", TrustClass.STARTER),
    ],
)
def test_each_kind_of_fact_has_its_trust_class(text: str, expected: TrustClass) -> None:
    assert trust_class(parse_selector(text)) is expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], False),
        (["unix:path:/usr/bin/x"], False),
        (["unix:path:/usr/bin/x", "unix:sha256:00"], False),
        (["docker:label:app:web", "docker:env:A=b", "docker:image_id:x:1"], False),
        (["unix:path:/usr/bin/x", "docker:label:app:web"], False),
        (["posture:seccomp:filter", "unix:path:/usr/bin/x"], False),
        (["unheard_of:x"], False),
        (["unix:uid:1000"], True),
        (["unix:path:/usr/bin/x", "unix:user:web"], True),
        (["unix:path:/usr/bin/x", "unix:supplementary_gid:7"], True),
        (["docker:label:app:web", "docker:image_config_digest:sha256:00"], True),
        (["systemd:id:nginx.service"], True),
        (["systemd:fragment_path:/x"], True),
        (["systemd:unheard_of:x"], False),
        (["posture:userns:mapped", "posture:cap_eff:none", "posture:lsm:x"], False),
        (["rootless:image_config_digest:sha256:00", "rootless:label:app:web"], False),
        (["rootless:label:app:web", "unix:uid:1000"], True),
    ],
)
def test_party_boundary_takes_a_fact_that_another_user_cannot_have(texts: list[str], expected: bool) -> None:
    assert has_party_boundary(map(parse_selector, texts)) is expected
