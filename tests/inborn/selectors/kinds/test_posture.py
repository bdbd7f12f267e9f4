"""The vocabulary of posture: what can be demanded at all."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.kinds.posture import CAPABILITIES, LISTED, listed
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.weakness import why_never_attested


@pytest.mark.parametrize(
    "text",
    [
        "posture:seccomp:filter",
        "posture:no_new_privs:true",
        "posture:cap_eff:none",
        "posture:cap_eff:CAP_SYS_ADMIN",
        "posture:cap_eff_lacks:CAP_SYS_ADMIN",
        "posture:cap_bnd:none",
        "posture:cap_bnd_lacks:CAP_NET_RAW",
        "posture:userns:mapped",
        "posture:ns_cgroup:private",
        "posture:rootfs:ro",
        "posture:lsm:docker-default (enforce)",
        "posture:runtime_socket:none",
        "unix:uid:0",
    ],
)
def test_what_a_process_can_have_is_known(text: str) -> None:
    assert why_never_attested(parse_selector(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "posture:seccomp:on",
        "posture:seccomp",
        "posture:cap_eff_lacks:CAP_SYSADMIN",
        "posture:cap_eff_lacks:SYS_ADMIN",
        "posture:cap_eff_lacks:CAP_CHOWN",
        "posture:cap_eff_lacks:none",
        "posture:cap_bnd:CAP_SYS_ADMIN",
        "posture:ns_user:private",
        "posture:lsm:",
        "posture:rootfs:readonly",
        "posture:unheard_of:true",
    ],
)
def test_what_no_process_can_have_is_not_known(text: str) -> None:
    assert why_never_attested(parse_selector(text)) is not None


def test_capabilities_are_numbered_as_the_kernel_does() -> None:
    assert len(CAPABILITIES) == 41
    assert (CAPABILITIES[0], CAPABILITIES[21], CAPABILITIES[40]) == (
        "CAP_CHOWN",
        "CAP_SYS_ADMIN",
        "CAP_CHECKPOINT_RESTORE",
    )
    assert set(CAPABILITIES) > LISTED


def test_each_listed_capability_is_held_or_lacking() -> None:
    for mask in (0, 1 << 21, (1 << 41) - 1, 0xA80425FB):
        has, lacks = listed(mask)
        assert set(has) | set(lacks) == LISTED
        assert not set(has) & set(lacks)
    assert listed(1 << 21)[0] == ["CAP_SYS_ADMIN"]
    assert listed(0xA80425FB)[0] == ["CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_NET_RAW", "CAP_MKNOD"]
