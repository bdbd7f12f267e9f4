"""Blocks: the table `block`."""

# ruff: noqa: S608 (what is put into statements are names of columns from this module; values are bound)

from __future__ import annotations

from collections.abc import Iterable

from inborn_ca.model.records import Block, BlockKind
from inborn_ca.store.sqlite.codec import Row, from_micros, to_micros
from inborn_ca.store.sqlite.handle import Handle

__all__ = ["BlockReads", "BlockWrites"]

_COLUMNS = "kind, value, since, actor, revocation_seq"


class BlockReads:
    """Reads of `interface.blocks`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def all(self) -> list[Block]:
        return [_block(row) for row in self._handle.rows(f"SELECT {_COLUMNS} FROM block ORDER BY kind, value")]


class BlockWrites(BlockReads):
    """Writes of `interface.blocks`. Which kinds are blocked is asked once a transaction."""

    __slots__ = ("_kinds",)

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self._kinds: set[str] | None = None

    def forget(self) -> None:
        """Another transaction begins, or a savepoint was undone."""
        self._kinds = None

    def find(self, targets: Iterable[tuple[BlockKind, str]]) -> Block | None:
        if self._kinds is None:
            self._kinds = {kind for (kind,) in self._handle.rows("SELECT DISTINCT kind FROM block")}
        if not self._kinds:
            return None
        for kind, value in targets:
            if str(kind) not in self._kinds:
                continue
            row = self._handle.row(f"SELECT {_COLUMNS} FROM block WHERE kind = ? AND value = ?", (str(kind), value))
            if row is not None:
                return _block(row)
        return None

    def add(self, block: Block) -> None:
        self._handle.execute(
            f"INSERT INTO block ({_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (str(block.kind), block.value, to_micros(block.since), block.actor, block.revocation_seq),
        )
        self._kinds = None

    def remove(self, kind: BlockKind, value: str) -> bool:
        cursor = self._handle.execute("DELETE FROM block WHERE kind = ? AND value = ?", (str(kind), value))
        self._kinds = None
        return cursor.rowcount > 0


def _block(row: Row) -> Block:
    kind, value, since, actor, revocation_seq = row
    return Block(
        kind=BlockKind(kind), value=value, since=from_micros(since), actor=actor, revocation_seq=revocation_seq
    )
