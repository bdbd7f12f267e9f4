"""CRLs: times that rise, content that is checked, time that is linear."""

from __future__ import annotations

import datetime as dt
import os
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn.errors import InternalError
from inborn_ca.authorities.authority_life import key_id, make_root
from inborn_ca.authorities.crl import build_crl, next_this_update

NOW = dt.datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
MINUTE = 60 * SECOND
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = make_root(trust_domain=TrustDomain("example.org"), key=KEY, now=NOW, life=dt.timedelta(days=1))
AT = NOW.replace(microsecond=0)


def a_crl(**changes: object) -> x509.CertificateRevocationList:
    arguments: dict = {
        "issuer": ISSUER,
        "key": KEY,
        "number": 7,
        "this_update": AT,
        "next_update": AT + dt.timedelta(hours=24),
        "revoked": (),
    }
    return x509.load_der_x509_crl(build_crl(**(arguments | changes)))


def test_this_update_is_backdated_at_first() -> None:
    assert next_this_update(None, NOW, MINUTE) == AT - MINUTE


def test_this_update_rises_by_whole_seconds_and_never_lies_ahead() -> None:
    made, previous = [], None
    while (following := next_this_update(previous, NOW, MINUTE)) is not None:
        made.append(following)
        previous = following
    assert made == [AT - MINUTE + n * SECOND for n in range(61)]
    assert next_this_update(previous, NOW + 0.4 * SECOND, MINUTE) is None
    assert next_this_update(previous, NOW + 0.5 * SECOND, MINUTE) == AT + SECOND


def test_after_a_pause_it_is_backdated_again() -> None:
    assert next_this_update(AT - MINUTE, NOW + MINUTE, MINUTE) == AT


def test_there_is_no_this_update_while_the_clock_is_set_back() -> None:
    assert next_this_update(AT, NOW - MINUTE, MINUTE) is None


def test_an_empty_list_is_a_list() -> None:
    crl = a_crl()
    assert len(crl) == 0
    assert crl.is_signature_valid(KEY.public_key())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    authority = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == key_id(ISSUER)
    assert (crl.last_update_utc, crl.next_update_utc) == (AT, AT + dt.timedelta(hours=24))


def test_entries_say_serial_time_and_reason() -> None:
    serial = b"\x01" + os.urandom(18)
    crl = a_crl(revoked=[(serial, NOW, 1), (b"\x05", NOW, 0)])
    entry = crl.get_revoked_certificate_by_serial_number(int.from_bytes(serial, "big"))
    assert entry is not None
    assert entry.revocation_date_utc == AT
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    plain = crl.get_revoked_certificate_by_serial_number(5)
    assert plain is not None
    assert len(plain.extensions) == 0  # RFC 5280 5.3.1: unspecified is left out


def test_a_serial_that_comes_twice_counts_once_as_it_came_first() -> None:
    crl = a_crl(revoked=[(b"\x05", AT, 1), (b"\x00\x05", AT + SECOND, 4)])
    assert [(entry.serial_number, entry.revocation_date_utc) for entry in crl] == [(5, AT)]


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"number": 1 << 159},
        {"next_update": AT},
        {"next_update": AT - SECOND},
        {"key": ec.generate_private_key(ec.SECP256R1())},
        {"revoked": [(b"\x00", AT, 0)]},
        {"revoked": [(b"\x01", AT, 6)]},
        {"revoked": [(b"\x01", AT, 8)]},
        {"revoked": [(b"\x01", AT, 99)]},
        {"this_update": AT.replace(tzinfo=None)},
    ],
)
def test_a_list_that_should_not_exist_is_not_returned(changes: dict[str, object]) -> None:
    with pytest.raises(InternalError):
        a_crl(**changes)


def test_time_is_linear_in_the_number_of_entries() -> None:
    def took(count: int) -> float:
        revoked = [(b"\x01" + n.to_bytes(18, "big"), AT, 1) for n in range(count)]
        begun = time.process_time()
        a_crl(revoked=revoked)
        return time.process_time() - begun

    took(100)
    assert took(40_000) < 12 * took(10_000)  # four times as many; in quadratic time it would be sixteen
