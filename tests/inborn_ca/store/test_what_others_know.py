"""What keeps the rows is the store's business: whoever uses it neither names it nor opens a file of it."""

from __future__ import annotations

from pathlib import Path

import inborn_ca
from inborn_ca.store.place import database_file, exists

SOURCES = Path(inborn_ca.__file__).parent


def test_no_module_outside_the_store_says_what_keeps_the_rows() -> None:
    outside = [path for path in SOURCES.rglob("*.py") if path.relative_to(SOURCES).parts[0] != "store"]
    name = database_file(Path("/")).name
    assert len(outside) > 50
    found = {path.name for path in outside if "sqlite" in (text := path.read_text()).lower() or name in text}
    assert found == set()


def test_a_directory_has_a_database_or_has_none(tmp_path: Path) -> None:
    assert not exists(tmp_path)
    assert not exists(tmp_path / "nowhere")
    database_file(tmp_path).touch()
    assert exists(tmp_path)
