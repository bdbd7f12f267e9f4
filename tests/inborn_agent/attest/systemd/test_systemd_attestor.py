"""Units of the system manager and their files. The shapes of control groups are in `test_cgroup_shapes`."""

from __future__ import annotations

from pathlib import Path

import pytest

from inborn_agent.attest.systemd.attestor import find_fragment, unit_of


def test_groups_that_speak_of_two_containers_give_no_unit() -> None:
    groups = {"2:cpu": "/docker/" + "7cd5" * 16, "1:name=systemd": "/system.slice/a.service", "0:": "/" + "0a1b" * 16}
    assert unit_of(groups) is None


def test_no_groups_give_no_unit() -> None:
    assert unit_of({}) is None


class TestFragment:
    @pytest.fixture
    def directories(self, tmp_path: Path) -> list[str]:
        made = [tmp_path / name for name in ("etc", "run", "usr")]
        for directory in made:
            directory.mkdir()
        return list(map(str, made))

    def test_the_first_directory_wins(self, directories: list[str]) -> None:
        for directory in directories[1:]:
            (Path(directory) / "a.service").touch()
        assert find_fragment("a.service", directories) == f"{directories[1]}/a.service"

    def test_an_instance_has_its_own_file_or_its_templates(self, directories: list[str]) -> None:
        (Path(directories[2]) / "a@.service").touch()
        assert find_fragment("a@b@c.service", directories) == f"{directories[2]}/a@.service"
        (Path(directories[2]) / "a@b@c.service").touch()
        assert find_fragment("a@b@c.service", directories) == f"{directories[2]}/a@b@c.service"

    def test_a_link_counts_wherever_it_leads_from_here(self, directories: list[str]) -> None:
        (Path(directories[0]) / "a.service").symlink_to("/on/the/host/alone")
        (Path(directories[1]) / "a.service").touch()
        assert find_fragment("a.service", directories) == f"{directories[0]}/a.service"

    def test_files_of_a_host_that_is_seen_elsewhere_keep_their_names_there(self, directories: list[str]) -> None:
        (Path(directories[1]) / "a.service").touch()
        root = str(Path(directories[1]).parent)
        assert find_fragment("a.service", ["/etc", "/run"], root=root) == "/run/a.service"

    def test_a_unit_without_a_file_has_none(self, directories: list[str]) -> None:
        (Path(directories[0]) / "a.service").mkdir()
        assert find_fragment("a.service", directories) is None
        assert find_fragment("b@.service", directories) is None
