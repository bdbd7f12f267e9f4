"""CRLs that are shown to the world: checked, and never an older one than before."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn_ca.authorities.authority_life import make_issuing, make_root
from inborn_ca.authorities.crl import build_crl
from inborn_ca.front.crl_shelf import CrlShelf

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
DOMAIN = TrustDomain("example.org")
DAY = dt.timedelta(days=1)


class Authority:
    """One that signs CRLs."""

    def __init__(self) -> None:
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        root = make_root(trust_domain=DOMAIN, key=self.root_key, now=NOW, life=3650 * DAY)
        self.certificate = make_issuing(
            trust_domain=DOMAIN, root=root, root_key=self.root_key, key=self.key, now=NOW, life=60 * DAY
        )
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.key_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest

    def crl(self, number: int, *, at: dt.timedelta | None = None, revoked: int = 0) -> bytes:
        return build_crl(
            issuer=self.certificate,
            key=self.key,
            number=number,
            this_update=NOW + (dt.timedelta(seconds=number) if at is None else at),
            next_update=NOW + DAY,
            revoked=[(bytes([1, n]), NOW, 0) for n in range(revoked)],
        )


@pytest.fixture
def authority() -> Authority:
    return Authority()


def test_crl_is_shown_with_what_it_says(authority: Authority) -> None:
    shelf = CrlShelf()
    der = authority.crl(7, revoked=3)
    assert shelf.put([(authority.der, der)]) == []
    (shown,) = shelf.published()
    assert shelf.get(authority.key_id) == shown
    assert (shown.der, shown.number, shown.certificates, shown.is_root) == (der, 7, 3, False)
    assert shown.next_update == NOW + DAY


@pytest.mark.parametrize("older", [1, 2])
def test_older_crl_is_refused_and_the_newer_one_stays(authority: Authority, older: int) -> None:
    shelf = CrlShelf()
    newest = authority.crl(2, revoked=1)
    shelf.put([(authority.der, newest)])
    (refused,) = shelf.put([(authority.der, authority.crl(older, revoked=5))])
    assert "not newer" in refused.message
    assert shelf.published()[0].der == newest


def test_crl_of_the_same_second_is_refused_however_its_number(authority: Authority) -> None:
    shelf = CrlShelf()
    first = authority.crl(1, at=dt.timedelta(0))
    shelf.put([(authority.der, first)])
    assert len(shelf.put([(authority.der, authority.crl(2, at=dt.timedelta(0)))])) == 1
    assert shelf.published()[0].der == first


def test_authority_that_is_gone_is_not_shown_and_its_old_list_does_not_come_back(authority: Authority) -> None:
    shelf = CrlShelf()
    shelf.put([(authority.der, authority.crl(2))])
    assert shelf.put([]) == []
    assert shelf.published() == []
    assert shelf.get(authority.key_id) is None
    assert len(shelf.put([(authority.der, authority.crl(1))])) == 1
    assert shelf.published()[0].number == 2


def test_crl_that_another_authority_signed_is_refused(authority: Authority) -> None:
    shelf = CrlShelf()
    assert len(shelf.put([(authority.der, Authority().crl(1))])) == 1
    assert shelf.published() == []


def test_crl_with_a_bit_flipped_is_refused(authority: Authority) -> None:
    shelf = CrlShelf()
    good = authority.crl(1, revoked=2)
    shelf.put([(authority.der, good)])
    newer = bytearray(authority.crl(2, revoked=2))
    for at in (30, len(newer) // 2, len(newer) - 3):
        newer[at] ^= 1
        assert len(shelf.put([(authority.der, bytes(newer))])) == 1
        assert shelf.published()[0].der == good
        newer[at] ^= 1


@pytest.mark.parametrize("der", [b"no DER", b"\x30\x00"])
def test_garbage_is_refused_and_says_so(authority: Authority, der: bytes) -> None:
    shelf = CrlShelf()
    assert len(shelf.put([(authority.der, der)])) == 1
    assert len(shelf.put([(der, authority.crl(1))])) == 1
    assert shelf.published() == []


def test_bad_list_of_one_authority_does_not_hold_up_another(authority: Authority) -> None:
    shelf, other = CrlShelf(), Authority()
    refused = shelf.put([(other.der, b"no DER"), (authority.der, authority.crl(1))])
    assert len(refused) == 1
    assert [crl.authority for crl in shelf.published()] == [authority.key_id]
