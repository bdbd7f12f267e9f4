"""The tables, step by step: how each program before this one laid them out, and what was changed since.

The ledger (`issued`) is keyed by serial, which is time, and has no other index: an index in random order would make
each insert at ten million rows fifteen times as dear. IDs, entries, authorities and sets of selectors are interned.
Times are microseconds since 1970 in UTC.

Migrations are numbered from 1. One is never changed once it was released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["MIGRATIONS"]

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE identity (id INTEGER PRIMARY KEY, spiffe_id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE entry_name (id INTEGER PRIMARY KEY, entry_id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE authority_name (id INTEGER PRIMARY KEY, key_id BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE selector_set (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    selectors TEXT NOT NULL UNIQUE,
    used_day INTEGER NOT NULL
) STRICT;

CREATE TABLE issued (
    serial BLOB PRIMARY KEY,
    identity INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    key_hash BLOB NOT NULL,
    authority INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    entry INTEGER,
    node INTEGER,
    selectors INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    longest_life INTEGER NOT NULL,
    longest_lead INTEGER NOT NULL
) STRICT;
INSERT INTO ledger VALUES (1, 0, 0);

CREATE TABLE authority (
    id INTEGER PRIMARY KEY,
    key_id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    certificate BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    activated_at INTEGER,
    crl BLOB NOT NULL,
    crl_number INTEGER NOT NULL,
    crl_this_update INTEGER,
    crl_next_update INTEGER
) STRICT;

CREATE TABLE token (
    id BLOB PRIMARY KEY,
    public_key BLOB NOT NULL,
    kind TEXT NOT NULL,
    uses INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    spiffe_id TEXT,
    name TEXT NOT NULL,
    groups TEXT NOT NULL,
    withdrawn_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE token_use (
    token_id BLOB NOT NULL REFERENCES token (id) ON DELETE CASCADE,
    key_hash BLOB NOT NULL,
    spiffe_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (token_id, key_hash)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER token_use_limit BEFORE INSERT ON token_use
WHEN (SELECT count(*) FROM token_use WHERE token_id = NEW.token_id)
  >= (SELECT uses FROM token WHERE id = NEW.token_id)
BEGIN SELECT RAISE(ABORT, 'token has no use left'); END;

CREATE TABLE enrollee (
    spiffe_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    token_id BLOB NOT NULL,
    name TEXT NOT NULL,
    groups TEXT NOT NULL,
    banned_at INTEGER,
    stopped_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX enrollee_token ON enrollee (token_id);

CREATE TABLE asker (
    key_hash BLOB PRIMARY KEY,
    spki BLOB NOT NULL,
    spiffe_id TEXT NOT NULL,
    last_number INTEGER NOT NULL,
    used_numbers BLOB NOT NULL,
    successor BLOB,
    alive_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    id TEXT PRIMARY KEY,
    spiffe_id TEXT NOT NULL,
    selectors TEXT NOT NULL,
    node_kind TEXT NOT NULL,
    node_value TEXT NOT NULL,
    ttl INTEGER NOT NULL,
    dns_names TEXT NOT NULL,
    common_name TEXT NOT NULL,
    hint TEXT NOT NULL,
    admin INTEGER NOT NULL,
    revoke_when_lost INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE posture_rule (
    id TEXT PRIMARY KEY,
    prefix TEXT NOT NULL,
    demands TEXT NOT NULL,
    note TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revocation (
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    value BLOB NOT NULL,
    cut_offs TEXT NOT NULL,
    reason INTEGER NOT NULL,
    blocks INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    alive_until INTEGER NOT NULL,
    dropped_at INTEGER
) STRICT;
CREATE INDEX revocation_in_force ON revocation (seq) WHERE dropped_at IS NULL;
CREATE TRIGGER revocation_is_for_ever BEFORE DELETE ON revocation
BEGIN SELECT RAISE(ABORT, 'a revocation is for ever'); END;

CREATE TABLE expansion (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    cut_offs TEXT NOT NULL,
    reason INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    after_serial BLOB NOT NULL,
    rules INTEGER NOT NULL,
    revocation_seq INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE INDEX expansion_open ON expansion (id) WHERE finished_at IS NULL;
CREATE TABLE command_answer (
    request_id BLOB PRIMARY KEY,
    answer BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE block (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    since INTEGER NOT NULL,
    actor TEXT NOT NULL,
    revocation_seq INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    origin TEXT NOT NULL,
    count INTEGER NOT NULL,
    alike BLOB
) STRICT;
CREATE UNIQUE INDEX audit_alike ON audit (alike) WHERE alike IS NOT NULL;
CREATE TABLE audit_pruning (before INTEGER NOT NULL) STRICT;
CREATE TRIGGER audit_is_kept BEFORE UPDATE OF id, at, actor, action, subject, detail, origin, alike ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;
CREATE TRIGGER audit_counts_up BEFORE UPDATE OF count ON audit WHEN NEW.count < OLD.count
BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;
CREATE TRIGGER audit_is_pruned BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_pruning WHERE before > OLD.at)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append only'); END;

CREATE TABLE alarm (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    message TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    acknowledged_at INTEGER,
    acknowledged_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE acknowledged_at IS NULL;
CREATE TRIGGER alarm_is_kept BEFORE UPDATE OF id, kind, subject, message, opened_at ON alarm
BEGIN SELECT RAISE(ABORT, 'an alarm is never rewritten'); END;
CREATE TRIGGER alarm_stays_acknowledged BEFORE UPDATE ON alarm WHEN OLD.acknowledged_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an alarm is never rewritten'); END;
CREATE TRIGGER alarm_is_pruned BEFORE DELETE ON alarm
WHEN OLD.acknowledged_at IS NULL
  OR NOT EXISTS (SELECT 1 FROM audit_pruning WHERE before > OLD.acknowledged_at)
BEGIN SELECT RAISE(ABORT, 'an alarm is never deleted'); END;
"""


def _lay_out(db: Database) -> None:
    """The first tables."""
    for statement in _statements(_FIRST):
        db.execute(statement)


_FINDINGS = """
CREATE TABLE finding (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reporter TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    revocation_seq INTEGER NOT NULL,
    certificate BLOB NOT NULL,
    number INTEGER NOT NULL,
    accepted_at INTEGER,
    accepted_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX finding_certificate ON finding (subject) WHERE kind = 'certificate';
CREATE INDEX finding_reporter ON finding (reporter);
"""


def _add_findings(db: Database) -> None:
    """What agents know and a restored database does not."""
    for statement in _statements(_FINDINGS):
        db.execute(statement)


_NAMES = """
ALTER TABLE asker RENAME TO requester;
ALTER TABLE enrollee RENAME TO member;
DROP INDEX enrollee_token;
CREATE INDEX member_token ON member (token_id);
ALTER TABLE posture_rule RENAME TO posture_policy;
ALTER TABLE expansion RENAME COLUMN rules TO revoked;
UPDATE finding SET kind = 'revocation' WHERE kind = 'rule';
"""


def _say_what_the_program_says(db: Database) -> None:
    """Tables and columns have the words that the program has."""
    for statement in _statements(_NAMES):
        db.execute(statement)


_SEVERAL = """
CREATE TABLE ca (
    ca_id TEXT PRIMARY KEY,
    serial_state TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO ca
SELECT value,
       coalesce((SELECT value FROM meta WHERE key = 'serial'), '0:0'),
       coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'created_at'), 0)
FROM meta WHERE key = 'ca_id';
DELETE FROM meta WHERE key = 'serial';
UPDATE meta SET key = key || ':' || (SELECT value FROM meta WHERE key = 'ca_id')
WHERE key IN ('revoking_authority', 'local_agent_name');
ALTER TABLE authority ADD COLUMN ca_id TEXT REFERENCES ca (ca_id);
UPDATE authority SET ca_id = (SELECT value FROM meta WHERE key = 'ca_id') WHERE state != 'root';
ALTER TABLE issued ADD COLUMN svid_kind INTEGER NOT NULL DEFAULT 1;
CREATE INDEX member_name ON member (name);
"""


def _make_room_for_several(db: Database) -> None:
    """What counts for one CA has its name beside it; a row of the ledger says which kind of SVID it is."""
    for statement in _statements(_SEVERAL):
        db.execute(statement)


def _drop_admin(db: Database) -> None:
    """Entries said that they grant administration, and granted nothing."""
    db.execute("ALTER TABLE entry DROP COLUMN admin")


_ATTESTATION = """
ALTER TABLE member ADD COLUMN attested_by TEXT NOT NULL DEFAULT '';
ALTER TABLE member ADD COLUMN attested_subject TEXT NOT NULL DEFAULT '';
ALTER TABLE member ADD COLUMN selectors TEXT NOT NULL DEFAULT '[]';
UPDATE member SET attested_by = 'join_token', attested_subject = lower(hex(token_id)) WHERE length(token_id) > 0;
DROP INDEX member_token;
ALTER TABLE member DROP COLUMN token_id;
CREATE INDEX member_attested ON member (attested_subject);
"""


def _say_how_members_were_attested(db: Database) -> None:
    """A member names the evidence that it enrolled with, which is not always a token."""
    for statement in _statements(_ATTESTATION):
        db.execute(statement)


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    _lay_out,
    _add_findings,
    _say_what_the_program_says,
    _make_room_for_several,
    _drop_admin,
    _say_how_members_were_attested,
)


def _statements(script: str) -> list[str]:
    """Cut a script apart; a trigger's body holds semicolons, its end is `END;`."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
