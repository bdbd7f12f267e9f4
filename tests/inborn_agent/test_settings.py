"""AgentSettings, and where join tokens come from."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from inborn._internal.address import InvalidAddress
from inborn._internal.enrollment.join_token import InvalidToken, JoinToken
from inborn._internal.settings.agent_options import AgentOptions
from inborn._internal.spiffe.spiffe_id import TrustDomain, parse_spiffe_id
from inborn.errors import RequestError, UnavailableError
from inborn_agent.ca.joining import NoJoiner, NoTokenYet, TokenFileJoiner
from inborn_agent.disk.svid_store import SvidStore
from inborn_agent.disk.tmpfs import is_in_memory
from inborn_agent.settings import AgentSettings, keys_directory, private_runtime_directory, trusted_engine_socket

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
    assert await joiner.token(None) == (token(), "ca:1")
    joiner.spent(token().id)
    with pytest.raises(NoTokenYet) as caught:
        await joiner.token(AGENT)
    assert f"--agent {AGENT}" in caught.value.hint
    path.write_text(token(2).encode())
    assert (await joiner.token(AGENT))[0] == token(2)


async def test_standard_input_is_read_once(tmp_path: Path) -> None:
    texts = [token().encode(), ""]
    joiner = TokenFileJoiner("-", "ca:1", read_stdin=lambda: texts.pop(0))
    assert (await joiner.token(None))[0] == (await joiner.token(None))[0]


async def test_bad_token_files(tmp_path: Path) -> None:
    for name, content in (("empty", ""), ("cut", token().encode()[:-20]), ("binary", "\0\1")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InvalidToken):
            await TokenFileJoiner(str(tmp_path / name), "ca:1").token(None)
    (tmp_path / "large").write_text("x" * 5000)
    with pytest.raises(RequestError):
        await TokenFileJoiner(str(tmp_path / "large"), "ca:1").token(None)
    with pytest.raises(NoTokenYet):
        await TokenFileJoiner(str(tmp_path / "missing"), "ca:1").token(None)
    with pytest.raises(UnavailableError):
        await NoJoiner().token(AGENT)


def test_an_error_never_shows_the_token(tmp_path: Path) -> None:
    text = token().encode()[:-20]
    os.environ.pop("INBORN_JOIN_TOKEN_FILE", None)
    (tmp_path / "token").write_text(text)
    with pytest.raises(InvalidToken) as caught:
        asyncio.run(TokenFileJoiner(str(tmp_path / "token"), "ca:1").token(None))
    assert text[10:40] not in str(caught.value) + caught.value.hint
