"""AgentSettings, and where join tokens come from."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from inborn._internal.address import InvalidAddress
from inborn._internal.enrollment.join_token import InvalidToken, JoinToken
from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn.errors import RequestError, UnavailableError
from inborn_agent.ca.joining import NoJoiner, TokenFileJoiner
from inborn_agent.disk.svid_store import SvidStore
from inborn_agent.disk.tmpfs import is_in_memory
from inborn_agent.settings import AgentSettings, keys_directory, private_runtime_directory, trusted_engine_socket
from inborn_member.node_attestors.join_token import TokenEvidence
from inborn_member.way_in import NoEvidence

AGENT = parse_spiffe_id("spiffe://example.org/inborn/agent/1")


def token(seed: int = 1) -> JoinToken:
    return JoinToken(trust_domain=TrustDomain("example.org"), bundle_digest=b"d" * 32, seed=bytes([seed]) * 32)


def test_everything_lies_below_the_data_directory_that_was_named(tmp_path: Path) -> None:
    settings = AgentSettings.resolve(AgentOptions(ca="ca:1", join_token_file="-", data_dir=tmp_path), environment={})
    for path in (settings.agent_dir, settings.socket, settings.admin_socket, settings.runtime_dir):
        assert tmp_path in path.parents


def test_systemd_says_where_the_runtime_directory_is(tmp_path: Path) -> None:
    public = tmp_path / "run"
    environment = {"RUNTIME_DIRECTORY": f"{public}:/run/inborn-agent"}
    assert private_runtime_directory(tmp_path, environment) == Path("/run/inborn-agent/agent")
    assert public not in private_runtime_directory(tmp_path, {"RUNTIME_DIRECTORY": str(public)}).parents


@pytest.mark.parametrize("named", [True, False])
def test_keys_do_not_lie_below_the_directory_that_containers_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "x"))
    monkeypatch.delenv("INBORN_DATA_DIR", raising=False)
    settings = AgentSettings.resolve(
        AgentOptions(ca="ca:1", join_token_file="-", data_dir=tmp_path if named else None), environment={}
    )
    assert settings.socket.parent not in (settings.runtime_dir, *settings.runtime_dir.parents)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["directory", "link", "file"])
def test_name_in_dev_shm_that_somebody_else_has_taken_does_not_keep_the_agent_from_starting(
    tmp_path: Path, kind: str
) -> None:
    if is_in_memory(tmp_path):
        pytest.skip("the runtime directory is in memory itself")
    taken = keys_directory(tmp_path)
    try:
        if kind == "directory":
            taken.mkdir()
        elif kind == "link":
            taken.symlink_to(tmp_path)
        else:
            taken.touch()
        os.chown(taken, 65534, 65534, follow_symlinks=False)
        assert keys_directory(tmp_path) == tmp_path
        assert not SvidStore(keys_directory(tmp_path)).is_active
    finally:
        taken.rmdir() if kind == "directory" else taken.unlink()


@pytest.mark.parametrize("ca", ["ca", "ca:", ":1", "ca:0", "ca:65536", "ca:1x", "::1:5", "http://ca:1/"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, ca: str) -> None:
    with pytest.raises(InvalidAddress):
        AgentSettings.resolve(AgentOptions(ca=ca, join_token_file="-", data_dir=tmp_path))


def test_contradictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not from both"):
        AgentSettings.resolve(
            AgentOptions(ca="ca:1", join_token_file="-", join_admin_socket=tmp_path / "s", data_dir=tmp_path)
        )
    with pytest.raises(RequestError, match="--ca"):
        AgentSettings.resolve(AgentOptions(join_token_file="-", data_dir=tmp_path))


def test_a_socket_of_anybody_but_root_is_no_container_engine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert trusted_engine_socket(str(tmp_path / "file")) == ""
    assert trusted_engine_socket(str(tmp_path / "nothing")) == ""


async def test_a_token_file_is_read_again_and_a_spent_token_is_not_tried_twice(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"  {token().encode()}\n")
    joiner = TokenFileJoiner(str(path), "ca:1")
    assert await joiner.evidence(None) == (TokenEvidence(token()), "ca:1")
    joiner.spent(token().id)
    with pytest.raises(NoEvidence) as caught:
        await joiner.evidence(AGENT)
    assert f"--agent {AGENT}" in caught.value.hint
    path.write_text(token(2).encode())
    assert (await joiner.evidence(AGENT))[0] == TokenEvidence(token(2))


async def test_standard_input_is_read_once(tmp_path: Path) -> None:
    texts = [token().encode(), ""]
    joiner = TokenFileJoiner("-", "ca:1", read_stdin=lambda: texts.pop(0))
    assert (await joiner.evidence(None))[0] == (await joiner.evidence(None))[0]


async def test_bad_token_files(tmp_path: Path) -> None:
    for name, content in (("empty", ""), ("cut", token().encode()[:-20]), ("binary", "\0\1")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InvalidToken):
            await TokenFileJoiner(str(tmp_path / name), "ca:1").evidence(None)
    (tmp_path / "large").write_text("x" * 5000)
    with pytest.raises(RequestError):
        await TokenFileJoiner(str(tmp_path / "large"), "ca:1").evidence(None)
    with pytest.raises(NoEvidence):
        await TokenFileJoiner(str(tmp_path / "missing"), "ca:1").evidence(None)
    with pytest.raises(UnavailableError):
        await NoJoiner().evidence(AGENT)


def test_an_error_never_shows_the_token(tmp_path: Path) -> None:
    text = token().encode()[:-20]
    os.environ.pop("INBORN_JOIN_TOKEN_FILE", None)
    (tmp_path / "token").write_text(text)
    with pytest.raises(InvalidToken) as caught:
        asyncio.run(TokenFileJoiner(str(tmp_path / "token"), "ca:1").evidence(None))
    assert text[10:40] not in str(caught.value) + caught.value.hint


X509POP: dict[str, Any] = {
    "ca": "ca:1",
    "node_attestor": "x509pop",
    "certificate": Path("host.pem"),
    "key": Path("host.key"),
    "bundle": Path("roots.pem"),
}


def test_an_agent_is_told_of_a_certificate(tmp_path: Path) -> None:
    found = AgentSettings.resolve(AgentOptions(**X509POP, data_dir=tmp_path)).x509pop
    assert found is not None
    assert (found.certificate, found.bundle, found.pin) == (Path.cwd() / "host.pem", Path.cwd() / "roots.pem", None)
    pinned = X509POP | {"bundle": None, "pin": "ab" * 32, "trust_domain": "example.org"}
    found = AgentSettings.resolve(AgentOptions(**pinned, data_dir=tmp_path)).x509pop
    assert found is not None
    assert found.pin is not None
    assert (found.pin.digest, str(found.pin.trust_domain)) == (b"\xab" * 32, "example.org")
    assert AgentSettings.resolve(AgentOptions(ca="ca:1", node_attestor="join_token", data_dir=tmp_path)).x509pop is None


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"ca": ""}, "--ca is missing"),
        ({"certificate": None}, "a certificate and its key"),
        ({"key": None}, "a certificate and its key"),
        ({"bundle": None}, "one of the two"),
        ({"pin": "ab" * 32}, "one of the two"),
        ({"bundle": None, "pin": "ab" * 32}, "whose bundle it is"),
        ({"bundle": None, "pin": "ab", "trust_domain": "example.org"}, "64 hexadecimal"),
        ({"bundle": None, "pin": "ab" * 32, "trust_domain": "Example!"}, "trust domain"),
        ({"node_attestor": "tpm"}, "no node attestor"),
        ({"node_attestor": ""}, "go with the node attestor x509pop"),
        ({"node_attestor": "join_token"}, "go with the node attestor x509pop"),
        ({"join_token_file": "token"}, "not with both"),
        ({"join_admin_socket": Path("/x")}, "not with both"),
    ],
)
def test_an_agent_that_is_told_half_of_it_does_not_start(tmp_path: Path, changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(RequestError, match=rule):
        AgentSettings.resolve(AgentOptions(**(X509POP | changed), data_dir=tmp_path))
