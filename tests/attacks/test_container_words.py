"""Words of whoever starts a container: what becomes of them, and what does not."""

from __future__ import annotations

import os

import pytest

from inborn._internal.selectors.declaration import TrustClass
from inborn._internal.selectors.selector import parse_selector
from inborn._internal.selectors.trust import has_party_boundary, trust_class
from inborn_agent.attest import EngineClient
from tests.rigs.fixtures_docker import DockerEngine, facts_of_container, import_image

pytestmark = pytest.mark.docker


async def test_tag_moved_after_start(docker_engine: DockerEngine, docker_image: str) -> None:
    """The name goes on to another image. The container goes on to be the one that it was started from."""
    name = f"inborn-moved:{os.getpid()}"
    first = import_image(docker_engine, name)
    id_ = docker_engine.start(name)
    client = EngineClient(docker_engine.socket)
    second = import_image(docker_engine, name, "LABEL evil=1")
    assert first != second
    container = client.container(id_)
    assert container is not None
    assert (container.image_digest, container.image) == (first, name)
    # A container of the other image has the very same name, and not the digest.
    facts = await facts_of_container(docker_engine, name)
    assert {f"image_id:{name}", f"image_config_digest:{second}"} <= facts["docker"]
    assert f"image_config_digest:{first}" not in facts["docker"]
    docker_engine.remove(id_)
    docker_engine.docker("rmi", "--force", name)


async def test_label_and_environment_spoofing(docker_engine: DockerEngine, docker_image: str) -> None:
    """Labels, environment and name are whatever one likes; they become facts of no other kind."""
    digest = "sha256:" + "ab" * 32
    options = (
        "--label", "app=victim",
        "--label", f"image_config_digest={digest}",
        "--label", f"x:image_config_digest={digest}",
        "--env", f"image_config_digest:{digest}=",
        "--env", "APP_ENV=prod",
    )  # fmt: skip
    facts = await facts_of_container(docker_engine, docker_image, *options)
    assert {"label:app:victim", "env:APP_ENV=prod"} <= facts["docker"]
    assert f"image_config_digest:{digest}" not in facts["docker"]
    assert len([one for one in facts["docker"] if one.startswith("image_config_digest:")]) == 1


async def test_a_label_with_a_colon_looks_like_a_shorter_one(docker_engine: DockerEngine, docker_image: str) -> None:
    """`app:web` = `1` and `app` = `web:1` are the same selector, as in SPIRE: both are the starter's words."""
    facts = [
        await facts_of_container(docker_engine, docker_image, "--label", label) for label in ("app:web=1", "app=web:1")
    ]
    assert facts[0]["docker"] == facts[1]["docker"]


async def test_a_copy_of_everything_that_can_be_copied_differs_by_the_digest(
    docker_engine: DockerEngine, docker_image: str
) -> None:
    """Same labels, environment and name, another program: what is left to tell them apart is the engine's own word."""
    name = f"inborn-copied:{os.getpid()}"
    import_image(docker_engine, name)
    real = (await facts_of_container(docker_engine, name))["docker"]
    import_image(docker_engine, name, "WORKDIR /tmp")
    copy = (await facts_of_container(docker_engine, name))["docker"]
    words = {parse_selector(f"docker:{value}") for value in real & copy}
    assert {trust_class(word) for word in words} == {TrustClass.STARTER}
    assert not has_party_boundary(words)
    (digest,) = real - copy
    assert trust_class(parse_selector(f"docker:{digest}")) is TrustClass.RUNTIME
    docker_engine.docker("rmi", "--force", name)
