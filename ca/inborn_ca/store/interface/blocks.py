"""Blocks: what is not issued until an admin lifts it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from inborn_ca.model.records import Block, BlockKind

__all__ = ["BlockReads", "BlockWrites"]


class BlockReads(Protocol):
    def all(self) -> list[Block]:
        """By kind and value. One for each admin's decision: hundreds."""
        ...


class BlockWrites(BlockReads, Protocol):
    def find(self, targets: Iterable[tuple[BlockKind, str]]) -> Block | None:
        """The first block that is there for one of the targets.

        On the way of every certificate: where nothing is blocked the targets are not even asked for.
        """
        ...

    def add(self, block: Block) -> None:
        """A block that is there already stays as it is."""
        ...

    def remove(self, kind: BlockKind, value: str) -> bool:
        """Whether it was there."""
        ...
