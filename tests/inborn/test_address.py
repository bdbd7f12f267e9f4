"""Hosts and ports as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inborn._internal.address import Address, InvalidAddress, check_host, parse_address, parse_target
from inborn.errors import RequestError

NAMES = st.from_regex(r"[a-z_]([a-z0-9_-]{0,20}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,20}[a-z0-9])?){0,3}", fullmatch=True)
HOSTS = st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("[::1]:8443", "::1", 8443),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:8443", "fe80::1%eth0", 8443),
        ("[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1", 1),
        ("ca.example.org:0", "ca.example.org", 0),
        ("ca.example.org.:443", "ca.example.org.", 443),
        ("project_ca-1:443", "project_ca-1", 443),
        (" 127.0.0.1:1 ", "127.0.0.1", 1),
        (f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}:1", f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}", 1),
    ],
)
def test_address_is_host_and_port_and_written_it_is_the_same(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text.strip()


BAD = [
    "",
    ":",
    "host",
    "host:",
    ":1",
    "::1:8443",
    "::1:5",
    "host:x",
    "host:1x",
    "host:-1",
    "host:+1",
    "host:01",
    "host: 1",
    "host:65536",
    "host:100000",
    "host:١",
    "h:٣",
    "hóst:1",
    "a b:1",
    "h/x:1",
    "http://ca:1/",
    "http://ca:1",
    "user@host:1",
    "-o:1",
    "host-:1",
    ".host:1",
    "a..b:1",
    "*:1",
    "[]:1",
    "[host]:1",
    "[127.0.0.1]:1",
    "[::1:1",
    "::1]:1",
    "[[::1]]:1",
    "[::g]:1",
    "[1:2]:1",
    "[::1%]:1",
    "[::1%a b]:1",
    "127.1:1",
    "127.0.0.1.:1",
    "010.0.0.1:1",
    "256.0.0.1:1",
    "0x7f000001:1",
    "127.0.0.0x1:1",
    "2130706433:1",
    "\n:1",
    "host\n:1",
    "host:1\n",
    "host:1\r",
    "host\0:1",
    "ho\x1b[2Jst:1",
    f"{'a' * 64}:1",
    f"{'a.' * 127}:1",
    "x" * 1_000_000 + ":1",
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text[:20]))
def test_what_is_no_address_is_refused_in_one_line_that_can_be_shown(text: str) -> None:
    for parse in (parse_address, parse_target):
        with pytest.raises(InvalidAddress) as caught:
            parse(text)
        assert isinstance(caught.value, RequestError)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 500


def test_nobody_connects_to_port_0() -> None:
    assert parse_target("ca.example.org:443") == Address("ca.example.org", 443)
    with pytest.raises(InvalidAddress):
        parse_target("ca.example.org:0")


@pytest.mark.parametrize(("host", "port"), [("", 1), ("[::1]", 1), ("a b", 1), ("host", -1), ("host", 65536)])
def test_an_address_that_exists_is_valid(host: str, port: int) -> None:
    with pytest.raises(InvalidAddress):
        Address(host, port)


@given(HOSTS, st.integers(0, 65535))
def test_address_that_is_written_is_read_again(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(str(address)) == address


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=40) | st.from_regex(r"[\[\]:.%a-f0-9]{0,30}:\d{1,5}"))
def test_any_text_is_read_or_refused_and_means_one_thing(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidAddress:
        return
    assert str(address) == text.strip(" ")
    assert address.host.isascii()
    assert address.host.isprintable()
    assert check_host(address.host) == address.host


@pytest.mark.parametrize(("host", "dialled"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1")])
def test_an_address_that_stands_for_all_is_dialled_on_loopback(host: str, dialled: str) -> None:
    assert Address(host, 1).dial_host == dialled


@pytest.mark.parametrize(
    ("host", "is_loopback", "is_ip"),
    [
        ("127.0.0.1", True, True),
        ("127.8.9.1", True, True),
        ("::1", True, True),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.0.2.1", False, True),
        ("localhost", False, False),
        ("ca.example.org", False, False),
    ],
)
def test_only_digits_say_that_an_address_is_loopback(host: str, is_loopback: bool, is_ip: bool) -> None:
    assert (Address(host, 1).is_loopback, Address(host, 1).is_ip) == (is_loopback, is_ip)
