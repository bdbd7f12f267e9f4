"""Authorities: their certificates, and the plan of their lives."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from inborn._internal.spiffe.authority_state import AuthorityState
from inborn._internal.spiffe.spiffe_id import TrustDomain
from inborn._internal.spiffe.x509_bundle import X509Bundle
from inborn.errors import InternalError
from inborn_ca.authorities.authority_life import (
    REMOVED_AFTER,
    StepKind,
    activate_at,
    key_id,
    make_issuing,
    make_root,
    plan,
    prepare_at,
)
from inborn_ca.certificates.profile import InvalidLifetimes, Lifetimes
from inborn_ca.model.records import AuthorityRecord

TD = TrustDomain("example.org")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
CA, OTHER_CA = "ca1", "ca2"
LIVES = Lifetimes()
ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = make_root(trust_domain=TD, key=ROOT_KEY, now=NOW, life=LIVES.root)


def issuing(now: dt.datetime = NOW, life: dt.timedelta = LIVES.issuing) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    return make_issuing(trust_domain=TD, root=ROOT, root_key=ROOT_KEY, key=key, now=now, life=life)


def record(
    certificate: x509.Certificate, state: AuthorityState, at: dt.datetime = NOW, *, ca_id: str = CA
) -> AuthorityRecord:
    life = LIVES.crl_root if state is AuthorityState.ROOT else LIVES.crl_issuing
    return AuthorityRecord(
        key_id=key_id(certificate),
        state=state,
        certificate=certificate,
        created_at=at,
        activated_at=at if state is AuthorityState.ACTIVE else None,
        crl=b"crl",
        crl_number=1,
        crl_this_update=at,
        crl_next_update=at + life,
        ca_id="" if state is AuthorityState.ROOT else ca_id,
    )


def renewed(authority: AuthorityRecord, at: dt.datetime) -> AuthorityRecord:
    """With a CRL that is fresh, so that a test sees the other steps."""
    life = LIVES.crl_root if authority.state is AuthorityState.ROOT else LIVES.crl_issuing
    return replace(authority, crl_this_update=at, crl_next_update=at + life)


def steps(authorities: list[AuthorityRecord], at: dt.datetime) -> list[tuple[StepKind, bytes]]:
    fresh = [renewed(authority, at) for authority in authorities]
    return [(step.kind, step.key_id) for step in plan(fresh, ca_id=CA, now=at, lifetimes=LIVES)]


ROOT_RECORD = record(ROOT, AuthorityState.ROOT)


def test_every_authority_has_a_subject_of_its_own() -> None:
    first, second = issuing(), issuing()
    assert len({ROOT.subject, first.subject, second.subject}) == 3
    X509Bundle(trust_domain=TD, roots=(ROOT,))
    assert first.issuer == ROOT.subject


def test_an_authority_never_outlives_the_root() -> None:
    almost = ROOT.not_valid_after_utc - DAY
    assert issuing(almost).not_valid_after_utc == ROOT.not_valid_after_utc
    with pytest.raises(InternalError, match="root expired"):
        issuing(ROOT.not_valid_after_utc)


def test_another_key_than_the_roots_makes_no_authority() -> None:
    with pytest.raises(InternalError):
        make_issuing(
            trust_domain=TD,
            root=ROOT,
            root_key=ec.generate_private_key(ec.SECP256R1()),
            key=ec.generate_private_key(ec.SECP256R1()),
            now=NOW,
            life=LIVES.issuing,
        )


def test_the_first_authority_is_prepared_and_activated_at_once() -> None:
    assert steps([ROOT_RECORD], NOW) == [(StepKind.PREPARE, b"")]
    first = record(issuing(), AuthorityState.PREPARED)
    assert steps([ROOT_RECORD, first], NOW) == [(StepKind.ACTIVATE, first.key_id)]
    active = replace(first, state=AuthorityState.ACTIVE, activated_at=NOW)
    assert steps([ROOT_RECORD, active], NOW) == []


def test_the_next_is_prepared_at_half_and_activated_at_five_sixths() -> None:
    active = record(issuing(), AuthorityState.ACTIVE)
    half, late = NOW + 30 * DAY, NOW + 50 * DAY
    assert (prepare_at(active, LIVES.longest_svid), activate_at(active, LIVES.longest_svid)) == (half, late)
    assert steps([ROOT_RECORD, active], half - DAY / 2) == []
    assert steps([ROOT_RECORD, active], half) == [(StepKind.PREPARE, b"")]
    following = record(issuing(half), AuthorityState.PREPARED, half)
    assert steps([ROOT_RECORD, active, following], half) == []
    assert steps([ROOT_RECORD, active, following], late - DAY / 2) == []
    assert steps([ROOT_RECORD, active, following], late) == [
        (StepKind.ACTIVATE, following.key_id),
        (StepKind.RETIRE, active.key_id),
    ]


def test_no_svid_is_cut_short_by_its_signer() -> None:
    active = record(issuing(), AuthorityState.ACTIVE)
    following = record(issuing(NOW + 30 * DAY), AuthorityState.PREPARED, NOW + 30 * DAY)
    at = active.certificate.not_valid_after_utc - 20 * DAY
    found = plan([ROOT_RECORD, active, following], ca_id=CA, now=at, lifetimes=LIVES, longest_svid=20 * DAY)
    assert (StepKind.ACTIVATE, following.key_id) in [(step.kind, step.key_id) for step in found]


def test_after_a_long_sleep_a_new_one_takes_over() -> None:
    active = record(issuing(), AuthorityState.ACTIVE)
    expired = record(issuing(NOW + DAY), AuthorityState.PREPARED, NOW + DAY)
    at = NOW + 61 * DAY + dt.timedelta(seconds=1)
    assert steps([ROOT_RECORD, active, expired], at) == [(StepKind.PREPARE, b"")]
    following = record(issuing(at), AuthorityState.PREPARED, at)
    assert steps([ROOT_RECORD, active, expired, following], at) == [
        (StepKind.ACTIVATE, following.key_id),
        (StepKind.RETIRE, active.key_id),
    ]


def test_of_two_that_say_they_are_active_the_older_is_retired() -> None:
    older = record(issuing(), AuthorityState.ACTIVE)
    newer = record(issuing(NOW + DAY), AuthorityState.ACTIVE, NOW + DAY)
    assert steps([ROOT_RECORD, newer, older], NOW + 2 * DAY) == [(StepKind.RETIRE, older.key_id)]


def test_an_expired_authority_is_removed_a_day_later() -> None:
    active = record(issuing(NOW + 50 * DAY), AuthorityState.ACTIVE, NOW + 50 * DAY)
    for state in (AuthorityState.RETIRED, AuthorityState.TAINTED, AuthorityState.REVOKED, AuthorityState.PREPARED):
        old = record(issuing(), state)
        end = old.certificate.not_valid_after_utc + REMOVED_AFTER
        assert (StepKind.REMOVE, old.key_id) not in steps([ROOT_RECORD, active, old], end - DAY / 24)
        assert (StepKind.REMOVE, old.key_id) in steps([ROOT_RECORD, active, old], end)


def test_near_the_roots_end_no_authority_is_made_over_and_over() -> None:
    at = ROOT.not_valid_after_utc - 2 * DAY
    last = record(issuing(at), AuthorityState.ACTIVE, at)
    assert steps([ROOT_RECORD, last], at) == []
    assert steps([ROOT_RECORD], ROOT.not_valid_after_utc) == []


@pytest.mark.parametrize(
    ("state", "half_day", "due"),
    [
        (AuthorityState.ACTIVE, 0.9, False),
        (AuthorityState.ACTIVE, 1, True),
        (AuthorityState.PREPARED, 1, True),
        (AuthorityState.RETIRED, 1, True),
        (AuthorityState.TAINTED, 1, True),
        (AuthorityState.REVOKED, 1, True),
        (AuthorityState.ROOT, 59, False),
        (AuthorityState.ROOT, 60, True),
    ],
)
def test_a_crl_is_made_again_in_time_in_every_state(state: AuthorityState, half_day: float, due: bool) -> None:
    certificate = ROOT if state is AuthorityState.ROOT else issuing(life=LIVES.issuing)
    authority = record(certificate, state)
    found = plan([authority], ca_id=CA, now=NOW + half_day * DAY / 2, lifetimes=LIVES)
    assert (StepKind.RENEW_CRL in [step.kind for step in found]) is due


def test_an_authority_without_a_crl_gets_one_first() -> None:
    fresh = replace(record(issuing(), AuthorityState.PREPARED), crl=b"", crl_this_update=None, crl_next_update=None)
    found = plan([ROOT_RECORD, fresh], ca_id=CA, now=NOW, lifetimes=LIVES)
    assert [step.kind for step in found] == [StepKind.RENEW_CRL, StepKind.ACTIVATE]


def test_a_crl_of_seconds_is_not_due_at_once() -> None:
    lives = Lifetimes(crl_issuing=dt.timedelta(seconds=10))
    made = replace(
        record(issuing(), AuthorityState.ACTIVE),
        crl_this_update=NOW - lives.crl_backdate,
        crl_next_update=NOW + lives.crl_issuing,
    )
    assert plan([ROOT_RECORD, made], ca_id=CA, now=NOW, lifetimes=lives) == []
    assert plan([ROOT_RECORD, made], ca_id=CA, now=NOW + dt.timedelta(seconds=5), lifetimes=lives) != []


def test_no_crl_is_made_for_an_authority_that_has_expired() -> None:
    old = record(issuing(), AuthorityState.RETIRED)
    found = plan([old], ca_id=CA, now=NOW + 60 * DAY, lifetimes=LIVES)
    assert StepKind.RENEW_CRL not in [step.kind for step in found]


def test_years_of_carrying_plans_out_leave_one_active_authority_that_lives_long_enough() -> None:
    authorities = [ROOT_RECORD, record(issuing(), AuthorityState.ACTIVE)]
    rotations = 0
    for hours in range(0, 3 * 365 * 24, 6):
        now = NOW + dt.timedelta(hours=hours)
        for _ in range(10):
            found = plan(authorities, ca_id=CA, now=now, lifetimes=LIVES)
            for step in found:
                authorities = carried_out(authorities, step.kind, step.key_id, now)
                rotations += step.kind is StepKind.ACTIVATE
            if not found:
                break
        assert plan(authorities, ca_id=CA, now=now, lifetimes=LIVES) == []
        active = [a for a in authorities if a.state is AuthorityState.ACTIVE]
        assert len(active) == 1
        assert active[0].certificate.not_valid_after_utc - now > LIVES.longest_svid
    assert rotations >= 3 * 365 // 60


def carried_out(
    authorities: list[AuthorityRecord], kind: StepKind, key: bytes, now: dt.datetime
) -> list[AuthorityRecord]:
    match kind:
        case StepKind.PREPARE:
            return [*authorities, record(issuing(now), AuthorityState.PREPARED, now)]
        case StepKind.REMOVE:
            return [a for a in authorities if a.key_id != key]
        case StepKind.RENEW_CRL:
            return [renewed(a, now) if a.key_id == key else a for a in authorities]
        case StepKind.ACTIVATE:
            new = {"state": AuthorityState.ACTIVE, "activated_at": now}
            return [replace(a, **new) if a.key_id == key else a for a in authorities]
        case StepKind.RETIRE:
            return [replace(a, state=AuthorityState.RETIRED) if a.key_id == key else a for a in authorities]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"issuing": 41 * DAY}, "6 times the longest SVID"),
        ({"agent": 11 * DAY}, "6 times the longest SVID"),
        ({"root": 59 * DAY}, "less than an issuing authority"),
        ({"workload_min": dt.timedelta(hours=2)}, "not between"),
        ({"workload_default": dt.timedelta(hours=25)}, "not between"),
        ({"token": dt.timedelta()}, "not positive"),
        ({"backdate": -DAY}, "not positive"),
        ({"daemon": 8 * DAY}, "above its maximum"),
        ({"agent_renewal": 7 * DAY}, "renews after"),
    ],
)
def test_lifetimes_that_do_not_fit_are_refused(changes: dict[str, dt.timedelta], rule: str) -> None:
    with pytest.raises(InvalidLifetimes, match=rule):
        Lifetimes(**changes)


def test_an_active_authority_of_another_ca_is_neither_retired_nor_a_reason_to_make_none() -> None:
    mine = record(issuing(), AuthorityState.ACTIVE)
    theirs = record(issuing(NOW + DAY), AuthorityState.ACTIVE, NOW + DAY, ca_id=OTHER_CA)
    assert steps([ROOT_RECORD, mine, theirs], NOW + 2 * DAY) == []
    assert steps([ROOT_RECORD, theirs], NOW + 2 * DAY) == [(StepKind.PREPARE, b"")]


def test_a_prepared_authority_of_another_ca_is_not_activated_here() -> None:
    mine = record(issuing(), AuthorityState.ACTIVE)
    theirs = record(issuing(NOW + 40 * DAY), AuthorityState.PREPARED, NOW + 40 * DAY, ca_id=OTHER_CA)
    assert steps([ROOT_RECORD, mine, theirs], NOW + 55 * DAY) == [(StepKind.PREPARE, b"")]


def test_the_crl_and_the_end_of_another_cas_authority_are_its_own_affair() -> None:
    mine = record(issuing(), AuthorityState.ACTIVE)
    theirs = replace(record(issuing(), AuthorityState.RETIRED, ca_id=OTHER_CA), crl_this_update=None)
    fresh = [renewed(ROOT_RECORD, NOW), renewed(mine, NOW), theirs]
    assert plan(fresh, ca_id=CA, now=NOW, lifetimes=LIVES) == []
    assert StepKind.RENEW_CRL in [step.kind for step in plan(fresh, ca_id=OTHER_CA, now=NOW, lifetimes=LIVES)]
    removed = [s.key_id for s in plan([theirs], ca_id=CA, now=NOW + 62 * DAY, lifetimes=LIVES)]
    assert theirs.key_id not in removed
