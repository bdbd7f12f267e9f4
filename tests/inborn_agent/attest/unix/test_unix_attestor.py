"""Users and groups of a process. Its executable is in `test_executable`."""

from __future__ import annotations

import pytest

from inborn._internal.process.pinning import IdentityChanged, PinnedProcess
from inborn_agent.attest.unix.attestor import attest_unix
from tests.inborn_agent.attest.fixtures_made_process import MakeProcess


def texts(process: PinnedProcess) -> set[str]:
    return {str(selector) for selector in attest_unix(process).selectors}


def test_uid_and_gid_are_the_effective_ones_and_named_where_they_have_names(make_process: MakeProcess) -> None:
    assert {"unix:uid:0", "unix:user:root", "unix:gid:0", "unix:group:root"} <= texts(make_process(uid=0, gid=0))
    nameless = texts(make_process(uid=3_999_999, gid=3_999_998))
    assert {"unix:uid:3999999", "unix:gid:3999998"} <= nameless
    assert not any(text.startswith(("unix:user:", "unix:group:")) for text in nameless)


def test_supplementary_groups_have_numbers_and_names(make_process: MakeProcess) -> None:
    found = texts(make_process(groups="0 3999999"))
    assert {
        "unix:supplementary_gid:0",
        "unix:supplementary_group:root",
        "unix:supplementary_gid:3999999",
    } == {text for text in found if text.startswith("unix:supplementary")}


def test_more_groups_than_anybody_has_are_left_out_whole_with_a_hint(make_process: MakeProcess) -> None:
    evidence = attest_unix(make_process(groups=" ".join(map(str, range(100_000, 100_129)))))
    assert not any("supplementary" in selector.value for selector in evidence.selectors)
    assert evidence.hints == ("supplementary groups left out: the process is in 129, the limit is 128",)


def test_a_changed_user_is_refused(make_process: MakeProcess) -> None:
    process = make_process(uid=1000)
    process.uid = 1001
    with pytest.raises(IdentityChanged, match="was uid 1001 gid 1000 and is uid 1000 gid 1000"):
        attest_unix(process)
