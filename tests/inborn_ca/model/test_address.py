"""Hosts and ports as people write them."""

from __future__ import annotations

import pytest

from inborn_ca.model.address import Address, InvalidAddress


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("[::1]:8443", "::1", 8443),
        ("ca.example.org:0", "ca.example.org", 0),
        (" 127.0.0.1:1 ", "127.0.0.1", 1),
    ],
)
def test_address_is_host_and_port_and_written_it_is_the_same(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":1", "::1:8443", "host:x", "host:-1", "host:65536", "host:١", "a b:1", "h/x:1", "\n:1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        Address.parse(text)


@pytest.mark.parametrize(("host", "dialled"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1")])
def test_an_address_that_stands_for_all_is_dialled_on_loopback(host: str, dialled: str) -> None:
    assert Address(host, 1).dial_host == dialled
