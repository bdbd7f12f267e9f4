"""Where metrics may be served: for whoever reads an option that says so."""

from __future__ import annotations

from inborn._internal.address import Address, InvalidAddress, parse_address
from inborn.errors import RequestError

__all__ = ["parse_metrics_address"]

_HINT = "for example 127.0.0.1:9464"


def parse_metrics_address(text: str) -> Address:
    """Read `127.0.0.1:9464` or `[::1]:0`. Raises `RequestError` for what is not a loopback address in digits: there is
    no access control."""
    try:
        address = parse_address(text)
    except InvalidAddress as e:
        raise InvalidAddress(e.message, hint=_HINT) from e
    if not address.is_loopback:
        raise RequestError(f"metrics are served on loopback only, as IP:PORT, not on {address}", hint=_HINT)
    return address
