"""Who plays in the demo."""

from __future__ import annotations

from dataclasses import dataclass

from examples.demo.processes import Process

__all__ = ["DOMAIN", "PAY", "SHOP", "STOCK", "Cast"]

DOMAIN = "demo.test"
PAY = f"spiffe://{DOMAIN}/demo/pay"
SHOP = f"spiffe://{DOMAIN}/demo/shop"
STOCK = f"spiffe://{DOMAIN}/demo/stock"


@dataclass(slots=True, kw_only=True)
class Cast:
    """The server, the client, and the client in a container where there is one."""

    pay: Process
    shop: Process
    stock: Process | None = None

    def daemons(self) -> list[Process]:
        """All of them, the server first."""
        return [self.pay, self.shop] + ([self.stock] if self.stock is not None else [])
