"""Selectors as an admin writes them into an entry: an unknown key of a known type is refused."""

from __future__ import annotations

import pytest

from inborn._internal.selectors.declarations import SELECTOR_TYPES
from inborn._internal.selectors.entry_selector import UnknownSelector, parse_entry_selector
from inborn._internal.selectors.selector import SelectorError, parse_selector

# doc/plugin_agent_workloadattestor_{unix,docker,systemd}.md of SPIRE.
SPIRES = [
    "unix:uid:1000",
    "unix:user:web",
    "unix:gid:1000",
    "unix:group:web",
    "unix:supplementary_gid:27",
    "unix:supplementary_group:sudo",
    "unix:path:/usr/bin/web",
    "unix:sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",
    "docker:label:app:web",
    "docker:env:APP_ENV=prod",
    "docker:image_id:web:1",
    "docker:image_config_digest:sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",
    "docker:image-signature:verified",
    "docker:image-attestations:verified",
    "docker:image-signature-value:c2lnbmF0dXJl",
    "docker:image-signature-subject:ci@example.org",
    "docker:image-signature-issuer:https://issuer.example.org",
    "docker:image-signature-log-id:c0d23d6a",
    "docker:image-signature-log-index:1",
    "docker:image-signature-integrated-time:1719000000",
    "docker:image-signature-signed-entry-timestamp:c2V0",
    "systemd:id:nginx.service",
    "systemd:fragment_path:/lib/systemd/system/nginx.service",
]


@pytest.mark.parametrize("text", SPIRES)
def test_an_entry_of_spire_can_be_carried_over(text: str) -> None:
    assert parse_entry_selector(text) == parse_selector(text)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (
            "unix:uuid:5",
            "'uuid', they have uid, user, gid, group, supplementary_gid, supplementary_group, path, sha256",
        ),
        ("unix:1000", "'1000', they have uid, "),
        ("unix:UID:5", "'UID', they have uid, "),
        ("unix: uid:5", "' uid', they have uid, "),
        ("unix::5", "'', they have uid, "),
        ("docker:image_digest:sha256:00", "'image_digest', they have label, env, image_id, image_config_digest"),
        ("rootless:image-signature:verified", "'image-signature', they have label, env, image_id, image_config_digest"),
        ("systemd:unit:web.service", "'unit', they have id, fragment_path"),
        ("posture:capeff:none", "'capeff', they have seccomp, no_new_privs, cap_eff, "),
    ],
)
def test_an_unknown_key_of_a_known_type_is_refused_with_the_keys_that_there_are(text: str, known: str) -> None:
    with pytest.raises(UnknownSelector) as refused:
        parse_entry_selector(text)
    assert f"have no key {known}" in refused.value.message


def test_what_an_unknown_key_says_stays_on_one_short_line() -> None:
    with pytest.raises(UnknownSelector) as refused:
        parse_entry_selector("unix:" + "ä" * 500 + ":5")
    assert refused.value.message.isascii()
    assert len(refused.value.message) < 1024


@pytest.mark.parametrize("text", ["k8s:ns:default", "slurm:job_id:7", "unheard_of:x"])
def test_a_type_that_nobody_here_knows_is_taken(text: str) -> None:
    assert str(parse_entry_selector(text)) == text


def test_what_has_not_the_form_of_a_selector_is_refused() -> None:
    with pytest.raises(SelectorError, match="no colon"):
        parse_entry_selector("unix")


def test_each_example_of_the_reference_page_is_one_that_an_entry_may_have() -> None:
    for type_ in SELECTOR_TYPES.values():
        for key in type_.keys:
            assert parse_entry_selector(f"{type_.name}:{key.name}:{key.example}").type == type_.name
