"""Responses out of bytes, however they are cut, and what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.ven.transport.scripted_server import answer, chunked
from ven.http.errors import NotHttpError, TooLongError
from ven.http.response import HEAD_LONGEST, Response, ResponseReader

LONGEST = 1000


def read(*parts: bytes, ended: bool = False) -> Response | None:
    reader = ResponseReader(LONGEST)
    for part in parts:
        reader.feed(part)
    if ended:
        reader.end()
    return reader.response


@example(b"", [14], False)
@given(st.binary(max_size=300), st.lists(st.integers(0, 500)), st.booleans())
def test_it_is_the_same_however_it_is_cut(body: bytes, cuts: list[int], in_chunks: bool) -> None:
    content = chunked(*(body[place : place + 7] for place in range(0, len(body), 7))) if in_chunks else answer(body)
    places = sorted({min(cut, len(content)) for cut in (0, *cuts, len(content))})
    parts = [content[start:end] for start, end in itertools.pairwise(places)]
    assert read(*parts) == Response(status=200, reason="OK", body=body, keep_alive=True)


def test_an_interim_response_is_passed_over() -> None:
    found = read(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"<a/>", "503 Busy"))
    assert found == Response(status=503, reason="Busy", body=b"<a/>", keep_alive=True)


def test_a_body_may_last_until_the_connection_ends() -> None:
    content = b"HTTP/1.1 200 OK\r\n\r\n<a/>"
    assert read(content) is None
    assert read(content, ended=True) == Response(status=200, reason="OK", body=b"<a/>", keep_alive=False)


@pytest.mark.parametrize("content", [answer(b"<a/>")[:-1], chunked(b"<a/>")[:-5], b"HTTP/1.1 200 OK\r\n", b""])
def test_a_part_of_a_response_is_none(content: bytes) -> None:
    assert read(*([content] if content else []), ended=True) is None


@pytest.mark.parametrize(
    ("content", "keep_alive"),
    [
        (answer(b"", "200 OK", "Connection: close"), False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ],
)
def test_the_server_says_whether_the_connection_goes_on(content: bytes, keep_alive: bool) -> None:
    found = read(content)
    assert found is not None
    assert (found.body, found.keep_alive) == (b"", keep_alive)


@pytest.mark.parametrize("more", [answer(b"<b/>"), b"rubbish"])
def test_what_comes_after_the_response_makes_the_connection_useless(more: bytes) -> None:
    for parts in ((answer(b"<a/>") + more,), (answer(b"<a/>"), more)):
        found = read(*parts)
        assert found is not None
        assert (found.body, found.keep_alive) == (b"<a/>", False)


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_refused(content: bytes) -> None:
    with pytest.raises(NotHttpError):
        read(content)


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"],
)
def test_no_more_is_read_than_the_bound(start: bytes) -> None:
    with pytest.raises(TooLongError, match="more than 1,000 bytes"):
        read(start, *[b"a" * LONGEST] * (HEAD_LONGEST // LONGEST + 2))
