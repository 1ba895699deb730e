"""Heads: what is read from them, where they end, and how much work one may cause."""

from __future__ import annotations

import sys
from typing import SupportsIndex

import pytest

from chowk.connect.http1.diagnosis import PartialHead
from chowk.connect.http1.framing import CHUNKED, CLOSE, NONE, TUNNEL, Framing, Kind
from chowk.connect.http1.heads import RequestReader, ResponseReader, parse_request, parse_response
from chowk.connect.http1.limits import LIMITS, Limits
from chowk.connect.http1.refusal import Refusal


def request(*headers: str, line: str = "GET / HTTP/1.1", host: str = "Host: a") -> bytes:
    return "\r\n".join([line, *([host] if host else []), *headers, "", ""]).encode("latin-1")


def response(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


def test_a_request_is_taken_apart() -> None:
    head = parse_request(request("X-A: 1", "x-a:2", "Cookie: a=b", "Cookie: c=d", line="PUT /a%7eb?q=%2f HTTP/1.1"))
    assert (head.method, head.target, head.path, head.key, head.query) == (
        "PUT",
        b"/a%7eb?q=%2f",
        b"/a~b",
        b"/a~b",
        b"q=%2f",
    )
    assert (head.authority, head.minor_version, head.keep_alive, head.framing) == (b"a", 1, True, NONE)
    assert list(head.headers) == [
        (b"Host", b"a"),
        (b"X-A", b"1"),
        (b"x-a", b"2"),
        (b"Cookie", b"a=b"),
        (b"Cookie", b"c=d"),
    ]
    assert (head.get(b"x-a"), head.get(b"cookie"), head.get(b"none"), head.get(b"none", b"-")) == (
        b"1, 2",
        b"a=b; c=d",
        b"",
        b"-",
    )


def test_an_empty_query_is_not_a_missing_one() -> None:
    assert parse_request(request(line="GET /? HTTP/1.1")).query == b""
    assert parse_request(request(line="GET / HTTP/1.1")).query is None
    assert parse_request(request(line="GET /?a?b HTTP/1.1")).query == b"a?b"


def test_what_follows_a_head_is_handed_back_untouched() -> None:
    reader = RequestReader()
    found = reader.feed(request("Content-Length: 3") + b"abc" + request(line="GET /next HTTP/1.1"))
    assert found is not None
    assert found[1] == b"abc" + request(line="GET /next HTTP/1.1")
    again = reader.feed(found[1][3:])
    assert again is not None
    assert (again[0].path, again[1], reader.pending) == (b"/next", b"", 0)


def test_a_reader_says_whether_a_head_has_begun() -> None:
    reader = RequestReader()
    assert reader.pending == 0
    assert reader.feed(b"GET / HT") is None
    assert reader.pending == 8
    assert reader.feed(request()[8:]) is not None
    assert reader.pending == 0


@pytest.mark.parametrize(
    ("line", "header", "keep_alive"),
    [
        ("GET / HTTP/1.1", "X: y", True),
        ("GET / HTTP/1.1", "Connection: close", False),
        ("GET / HTTP/1.1", "Connection: keep-alive, close", False),
        ("GET / HTTP/1.1", "Connection: closed", True),
        ("GET / HTTP/1.0", "X: y", False),
        ("GET / HTTP/1.0", "Connection: keep-alive", True),
        ("GET / HTTP/1.0", "Connection: keep-alive, close", False),
    ],
)
def test_the_connection_is_kept_as_both_sides_understand(line: str, header: str, keep_alive: bool) -> None:
    assert parse_request(request(header, line=line)).keep_alive is keep_alive


def test_only_websocket_is_an_upgrade_and_only_with_its_connection_option() -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: WebSocket")
    assert parse_request(request(*upgrade)).upgrade == b"websocket"
    assert parse_request(request(*upgrade, "Content-Length: 0")).upgrade == b"websocket"
    assert parse_request(request(*upgrade, line="GET / HTTP/1.0")).upgrade == b""
    assert parse_request(request("Upgrade: websocket")).upgrade == b""
    assert parse_request(request("Connection: Upgrade", "Upgrade: h2c")).upgrade == b""
    assert parse_request(request("Connection: Upgrade", "Upgrade: websocket, h2c")).upgrade == b""


def test_only_a_client_of_http_1_1_can_wait_for_100_continue() -> None:
    assert parse_request(request("Expect: 100-continue", "Content-Length: 1")).expects_continue
    assert not parse_request(request("Expect: 100-continue", line="POST / HTTP/1.0")).expects_continue
    assert not parse_request(request()).expects_continue


@pytest.mark.parametrize(
    ("message", "method", "framing", "keep_alive"),
    [
        (response("HTTP/1.1 200 OK", "Content-Length: 3"), "GET", Framing(Kind.LENGTH, 3), True),
        (response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), "GET", CHUNKED, True),
        (response("HTTP/1.1 200 OK"), "GET", CLOSE, False),
        (response("HTTP/1.0 200 OK", "Content-Length: 3"), "GET", Framing(Kind.LENGTH, 3), False),
        (
            response("HTTP/1.0 200 OK", "Connection: keep-alive", "Content-Length: 3"),
            "GET",
            Framing(Kind.LENGTH, 3),
            True,
        ),
        (response("HTTP/1.1 200 OK", "Connection: close", "Content-Length: 3"), "GET", Framing(Kind.LENGTH, 3), False),
        (response("HTTP/1.1 200 OK", "Content-Length: 3"), "HEAD", NONE, True),
        (response("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), "HEAD", NONE, True),
        (response("HTTP/1.1 200 OK"), "HEAD", NONE, True),
        (response("HTTP/1.1 304 Not Modified", "Content-Length: 3"), "GET", NONE, True),
        (response("HTTP/1.1 204 No Content"), "GET", NONE, True),
        (response("HTTP/1.1 204 No Content", "Content-Length: 0"), "GET", NONE, True),
        (response("HTTP/1.1 204 No Content", "Content-Length: 3"), "GET", NONE, False),
        (response("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked"), "GET", NONE, False),
        (response("HTTP/1.1 100 Continue"), "POST", NONE, True),
        (response("HTTP/1.1 103 Early Hints", "Content-Length: 9"), "GET", NONE, False),
        (response("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket"), "GET", TUNNEL, False),
        (response("HTTP/1.1 200 OK", "Content-Length: 3"), "CONNECT", TUNNEL, False),
        (response("HTTP/1.1 407 No", "Content-Length: 3"), "CONNECT", Framing(Kind.LENGTH, 3), True),
        (response("HTTP/1.1 999"), "GET", CLOSE, False),
    ],
)
def test_a_responses_length_follows_its_status_and_the_requests_method(
    message: bytes, method: str, framing: Framing, keep_alive: bool
) -> None:
    head = parse_response(message, method)
    assert (head.framing, head.keep_alive) == (framing, keep_alive)


def test_interim_responses_come_before_the_final_one() -> None:
    reader = ResponseReader()
    found = reader.feed(response("HTTP/1.1 100 Continue") + response("HTTP/1.1 200 OK", "Content-Length: 0"), "POST")
    assert found is not None
    assert found[0].interim
    final = reader.feed(found[1], "POST")
    assert final is not None
    assert (final[0].status, final[0].interim, final[1]) == (200, False, b"")
    assert not parse_response(response("HTTP/1.1 101 S", "Upgrade: websocket"), "GET").interim


def test_a_status_line_may_lack_its_reason() -> None:
    assert parse_response(b"HTTP/1.1 200\r\n\r\n", "GET").reason == b""
    assert parse_response(b"HTTP/1.1 200 \r\n\r\n", "GET").reason == b""
    assert parse_response(b"HTTP/1.1 404 Not at all \xe9\r\n\r\n", "GET").reason == b"Not at all \xe9"


@pytest.mark.parametrize(
    ("limits", "message", "status"),
    [
        (Limits(target_bytes_max=4), request(line="GET /abcd HTTP/1.1"), 414),
        (Limits(headers_max=1), request("X: y"), 431),
        (Limits(head_bytes_max=20), request("X: y"), 431),
        (Limits(method_bytes_max=3), request(line="POST / HTTP/1.1"), 501),
        (Limits(length_digits_max=2), request("Content-Length: 100"), 400),
    ],
)
def test_each_limit_has_its_status(limits: Limits, message: bytes, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        RequestReader(limits).feed(message)
    assert refused.value.status == status
    assert RequestReader().feed(message) is not None


def test_what_is_exactly_at_a_limit_passes() -> None:
    message = request("X: y", line="POST /abc HTTP/1.1")
    exact = Limits(target_bytes_max=4, headers_max=2, head_bytes_max=len(message), method_bytes_max=4)
    assert RequestReader(exact).feed(message) is not None
    reader = RequestReader(exact)
    assert [reader.feed(message[at : at + 1]) for at in range(len(message) - 1)] == [None] * (len(message) - 1)
    assert reader.feed(message[-1:]) is not None


def test_a_head_in_pieces_leaves_nothing_behind_for_the_next() -> None:
    reader = RequestReader()
    for message in (request(f"X: {'y' * 100}"), request(), request("X: y")):
        found = [reader.feed(message[at : at + 1]) for at in range(len(message))]
        assert found[:-1] == [None] * (len(message) - 1)
        assert found[-1] is not None
    with pytest.raises(Refusal):
        [reader.feed(bytes((byte,))) for byte in b"GET /\r\n"]


def test_the_next_head_is_searched_from_its_first_byte() -> None:
    reader = RequestReader()
    message = request(f"X: {'y' * 100}")
    assert reader.feed(message[:90]) is None
    assert reader.feed(message[90:]) is not None
    with pytest.raises(Refusal):
        reader.feed(b"\x16\x03\x01")


def test_a_head_that_fills_its_limit_without_an_end_is_refused_at_once() -> None:
    reader = RequestReader(Limits(head_bytes_max=40))
    assert reader.feed(request(f"X: {'y' * 40}")[:39]) is None
    with pytest.raises(Refusal):
        reader.feed(b"y")


class CountingBuffer(bytearray):
    """Counts the bytes that searches look at."""

    looked_at = 0

    def find(
        self,
        sub: SupportsIndex | bytes | bytearray | memoryview,  # type: ignore[override]
        start: SupportsIndex | None = 0,
        end: SupportsIndex | None = sys.maxsize,
        /,
    ) -> int:
        stop = min(len(self), sys.maxsize if end is None else end.__index__())
        self.looked_at += max(0, stop - (0 if start is None else start.__index__()))
        return super().find(sub, start, end)


def test_a_head_that_trickles_in_is_not_searched_again_and_again() -> None:
    head = request(f"X: {'y' * 60_000}", line=f"GET /{'a' * 4000} HTTP/1.1")
    buffer = CountingBuffer()
    partial = PartialHead(LIMITS, 400, buffer)
    for at in range(len(head) - 1):
        assert partial.feed(head[at : at + 1]) is None
    assert partial.feed(head[-1:]) == (head, b"")
    assert buffer.looked_at < 8 * len(head)


def test_a_refusal_repeats_nothing_of_the_message() -> None:
    with pytest.raises(Refusal) as refused:
        parse_request(request("X-Secret : hunter2"))
    assert "hunter2" not in str(refused.value)
    assert "Secret" not in str(refused.value)
