"""Contexts: built once for what they present, and keys that leave no trace on disk."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

import pytest

from inborn._internal.tls.context import as_file, client_context, server_context, unsafe_unverified_context
from inborn._internal.verification.verify import authorize_any
from inborn.testing import MemoryAuthority


def test_inner_context_is_built_once_for_a_certificate(authority: MemoryAuthority) -> None:
    source = authority.source("spiffe://example.org/a")
    context = server_context(source, authorize_any())
    first = context.inner()
    authority.revoke("spiffe://example.org/b")  # a new snapshot, and nothing that the context presents has changed
    assert context.inner() is first
    authority.rotate(source)
    second = context.inner()
    assert second is not first
    context.set_alpn_protocols(["h2"])
    assert context.inner() is not second


def test_context_is_strict_on_its_outside_as_well(authority: MemoryAuthority) -> None:
    context = client_context(authority.source("spiffe://example.org/a"), authorize_any())
    assert isinstance(context, ssl.SSLContext)
    inner = context.inner()
    assert (inner.verify_mode, inner.minimum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_3)
    assert server_context(authority.source("spiffe://example.org/a"), authorize_any()).inner().num_tickets == 0


def test_unverified_context_says_so_in_its_name() -> None:
    assert unsafe_unverified_context(["h2"]).verify_mode == ssl.CERT_NONE


def test_key_is_in_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with as_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
        assert list(tmp_path.iterdir()) == []
    assert not os.path.exists(path)


def test_without_memory_files_the_key_is_in_a_private_file_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with as_file(b"secret") as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert Path(path).read_bytes() == b"secret"
    assert not os.path.exists(path)
