"""One connection's requests and answers, without a socket."""

from __future__ import annotations

import pytest

from inborn._internal.http.conversation import HttpConversation
from inborn._internal.http.exchange import HttpRefused, HttpResponse
from inborn.errors import InternalError

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
FOUND = HttpResponse(code=200, body=b"body", headers=(("Content-Type", "text/plain"),))


def test_conversation_goes_on_until_somebody_wants_to_end_it() -> None:
    conversation = HttpConversation(1000)
    for _ in range(3):
        assert conversation.read(GET).path == "/a"
        assert conversation.write(FOUND) == (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"
        )
        assert not conversation.is_over
    conversation.read(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert b"\r\nConnection: close\r\n" in conversation.write(FOUND)
    assert conversation.is_over


def test_last_answer_says_that_it_is_the_last() -> None:
    conversation = HttpConversation(1000)
    conversation.read(GET)
    assert b"\r\nConnection: close\r\n" in conversation.write(FOUND, is_last=True)
    assert conversation.is_over


def test_connection_of_http_1_0_ends_with_its_answer() -> None:
    conversation = HttpConversation(1000)
    conversation.read(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    conversation.write(FOUND)
    assert conversation.is_over


def test_head_is_told_the_length_and_sent_nothing() -> None:
    conversation = HttpConversation(1000)
    conversation.read(GET.replace(b"GET", b"HEAD"))
    answer = conversation.write(FOUND)
    assert b"\r\nContent-Length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
    conversation.read(GET)  # and the next one is sent its body again
    assert conversation.write(FOUND).endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("code", [204, 304])
def test_answer_without_a_body_has_no_length(code: int) -> None:
    conversation = HttpConversation(1000)
    conversation.read(GET)
    assert b"Content-Length" not in conversation.write(HttpResponse(code=code))
    assert not conversation.is_over


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (GET[:-2], 400),
        (b"", 400),
        (b"\r\n\r\n", 400),
        (GET + GET, 400),
        (GET[:-2] + b"X: " + b"a" * 1000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_one_head_is_refused_and_the_conversation_ends_with_it(head: bytes, code: int) -> None:
    conversation = HttpConversation(1000)
    with pytest.raises(HttpRefused) as caught:
        conversation.read(head)
    assert caught.value.code == code
    assert conversation.write(HttpResponse(code=code), is_last=True).startswith(b"HTTP/1.1 %d " % code)
    assert conversation.is_over


@pytest.mark.parametrize(
    "header",
    [("X-Id", "a\r\nX-Admin: 1"), ("X-Id", "a\0"), ("X Id", "a"), ("X-Id:", "a"), ("X-Id", "\u0105"), ("X-Id", " a")],
)
def test_answer_that_would_inject_a_header_is_not_sent(header: tuple[str, str]) -> None:
    conversation = HttpConversation(1000)
    conversation.read(GET)
    with pytest.raises(InternalError, match="not an answer in HTTP"):
        conversation.write(HttpResponse(code=200, headers=(header,)))
    assert conversation.is_over
