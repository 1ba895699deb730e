"""What changes on a message on its way, and what never does."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from chowk.connect.http1.edits import CompiledEdits, compile_edits, fault_of
from chowk.connect.http1.forwarding import Passage, answer, request_to_upstream, response_to_client
from chowk.connect.http1.framing import CHUNKED, CLOSE, NONE, Framing, Kind
from chowk.connect.http1.heads import RequestHead, ResponseHead, parse_request, parse_response
from chowk.connect.http1.identity import is_request_id, request_id
from chowk.connect.http1.refusal import Refusal
from chowk.core.records.traffic import HeaderEdits

QUIET = Passage(via=b"")


def made() -> bytes:
    return b"made"


def request(*headers: str, line: str = "GET /a?b HTTP/1.1", host: str = "Host: a") -> RequestHead:
    return parse_request("\r\n".join([line, *([host] if host else []), *headers, "", ""]).encode("latin-1"))


def response(*headers: str, line: str = "HTTP/1.1 200 OK", method: str = "GET") -> ResponseHead:
    return parse_response("\r\n".join([line, *headers, "", ""]).encode("latin-1"), method)


def lines(head: bytes) -> list[str]:
    return head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


def forwarded(head: RequestHead, passage: Passage = QUIET, make_id: Callable[[], bytes] = made) -> list[str]:
    return lines(request_to_upstream(head, passage, make_id).head)


def test_end_to_end_headers_go_on_as_they_came() -> None:
    sent = forwarded(request("X-A: 1", "x-a: 2", "TraceParent: 00-a-b-01", "tracestate: x=y", "x-request-id: mine"))
    assert sent == [
        "GET /a?b HTTP/1.1",
        "Host: a",
        "X-A: 1",
        "x-a: 2",
        "TraceParent: 00-a-b-01",
        "tracestate: x=y",
        "x-request-id: mine",
    ]


def test_headers_of_one_connection_stay_there() -> None:
    head = request(
        "Connection: keep-alive, X-Mine, TE", "Keep-Alive: 5", "X-Mine: y", "TE: trailers", "Proxy-Connection: close",
        "Upgrade: h2c", "HTTP2-Settings: x", "x-request-id: i", "X-Other: z",
    )  # fmt: skip
    assert forwarded(head) == ["GET /a?b HTTP/1.1", "Host: a", "X-Other: z", "x-request-id: i"]


def test_the_normal_path_is_what_goes_on() -> None:
    assert forwarded(request(line="GET /a//%7e/../b%3ac?d=%2f%2F HTTP/1.1"))[0] == "GET /a/b%3Ac?d=%2f%2F HTTP/1.1"
    assert forwarded(request(line="GET http://a/x HTTP/1.1"))[:2] == ["GET /x HTTP/1.1", "Host: a"]
    assert forwarded(request(line="OPTIONS * HTTP/1.1"))[0] == "OPTIONS * HTTP/1.1"
    assert forwarded(request(line="CONNECT a:80 HTTP/1.1"))[:2] == ["CONNECT a:80 HTTP/1.1", "Host: a:80"]


def test_a_request_without_host_gets_one() -> None:
    head = request(line="GET / HTTP/1.0", host="")
    assert forwarded(head, Passage(via=b"", authority=b"web"))[:2] == ["GET / HTTP/1.1", "Host: web"]


def test_path_and_authority_can_be_replaced() -> None:
    out = request_to_upstream(request(), QUIET, made, path=b"/new", authority=b"other:81")
    assert lines(out.head)[:2] == ["GET /new?b HTTP/1.1", "Host: other:81"]


def test_the_framing_is_said_anew() -> None:
    assert "Content-Length: 3" in forwarded(request("content-length:  3", line="POST / HTTP/1.1"))
    assert "Transfer-Encoding: chunked" in forwarded(request("Transfer-Encoding: CHUNKED", line="POST / HTTP/1.1"))
    assert not any("ontent-" in line or "ransfer-" in line for line in forwarded(request()))


def test_an_expectation_goes_on_only_from_clients_that_know_it() -> None:
    assert "Expect: 100-continue" in forwarded(request("Expect: 100-continue", "Content-Length: 1"))
    head = request("Expect: 100-continue", "Content-Length: 1", line="POST / HTTP/1.0")
    assert not any("xpect" in line for line in forwarded(head))


def test_a_websocket_upgrade_goes_on() -> None:
    sent = forwarded(request("Connection: keep-alive, upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: x"))
    assert sent[-2:] == ["Connection: Upgrade", "Upgrade: websocket"]
    assert "Sec-WebSocket-Key: x" in sent


def test_who_forwarded_a_request_is_appended() -> None:
    passage = Passage(forwarded_for=b"10.0.0.1", forwarded_proto=b"http")
    sent = forwarded(request("x-request-id: i"), passage)
    assert sent[3:] == ["x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http", "via: 1.1 chowk"]
    before = ("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2", "X-Forwarded-Proto: https", "Via: 1.0 b")
    assert forwarded(request("x-request-id: i", *before), passage)[2:] == [
        "X-Forwarded-Proto: https",
        "x-request-id: i",
        "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.0.0.1",
        "via: 1.0 b, 1.1 chowk",
    ]


def test_what_others_said_of_forwarding_stays_when_this_proxy_has_nothing_to_add() -> None:
    sent = forwarded(request("X-Forwarded-For: 1.1.1.1", "Via: 1.0 b", "x-request-id: i"), QUIET)
    assert sent[2:] == ["x-request-id: i", "x-forwarded-for: 1.1.1.1", "via: 1.0 b"]


def test_no_caller_names_its_own_certificate() -> None:
    head = request("X-Forwarded-Client-Cert: URI=spiffe://admin", "x-request-id: i")
    assert not any("cert" in line.lower() for line in forwarded(head))
    sent = forwarded(head, Passage(via=b"", client_cert=b"By=b;URI=a"))
    assert [line for line in sent if "cert" in line.lower()] == ["x-forwarded-client-cert: By=b;URI=a"]


@pytest.mark.parametrize("bad", ["", "a b", "a;b", "x" * 129, "\xe9", "$(reboot)"])
def test_a_request_id_that_is_not_fit_for_logs_is_replaced(bad: str) -> None:
    out = request_to_upstream(request(f"X-Request-Id: {bad}"), QUIET, made)
    assert out.request_id == b"made"
    assert [line for line in lines(out.head) if "request-id" in line.lower()] == ["x-request-id: made"]


def test_two_request_ids_are_none() -> None:
    out = request_to_upstream(request("x-request-id: a", "x-request-id: b"), QUIET, made)
    assert (out.request_id, lines(out.head)[2:]) == (b"made", ["x-request-id: made"])


def test_made_ids_are_uuids_and_fit_for_logs() -> None:
    for bits in (0, (1 << 128) - 1, 0x1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0):
        made_id = request_id(bits)
        assert is_request_id(made_id)
        parsed = uuid.UUID(made_id.decode())
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert request_id(1) != request_id(2)


def edits(**parts: object) -> HeaderEdits:
    return HeaderEdits(**parts)  # type: ignore[arg-type]


def test_edits_remove_then_set_then_add() -> None:
    compiled = compile_edits([edits(remove=("X-A", "X-B"), set={"X-B": "set"}, add={"X-C": "added", "X-A": "again"})])
    sent = lines(
        request_to_upstream(request("x-a: 1", "X-B: 2", "x-c: 3", "x-request-id: i"), QUIET, made, edits=compiled).head
    )
    assert sent[2:] == ["x-c: 3", "x-request-id: i", "X-B: set", "X-C: added", "X-A: again"]


def test_later_edits_work_on_what_earlier_ones_made() -> None:
    first = edits(add={"X-A": "1"}, set={"X-B": "1"})
    compiled = compile_edits([first, None, edits(remove=("x-a",), set={"x-b": "2"}, add={"X-A": "3"})])
    assert compiled == CompiledEdits(frozenset((b"x-a", b"x-b")), ((b"x-b", b"2"), (b"X-A", b"3")))


def test_edits_may_name_the_host_and_remove_what_the_proxy_adds() -> None:
    compiled = compile_edits([edits(set={"Host": "other"}, remove=("via", "x-forwarded-proto"))])
    out = request_to_upstream(request("x-request-id: i"), Passage(forwarded_proto=b"http"), made, edits=compiled)
    assert lines(out.head) == ["GET /a?b HTTP/1.1", "Host: other", "x-request-id: i"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Length", "0"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("upgrade", "x"),
        ("X-Forwarded-Client-Cert", "URI=x"),
        ("bad name", "x"),
        ("", "x"),
        ("X", "a\r\nY: b"),
        ("X", "a\n"),
        ("X", "\0"),
        ("X", " padded"),
        ("Host", "a b"),
        ("X", "\ud800\n"),
    ],
)
def test_edits_cannot_touch_framing_or_split_a_head(name: str, value: str) -> None:
    assert fault_of(name, value)
    assert compile_edits([edits(add={name: value}, set={name: value})]) == CompiledEdits()


def test_what_frames_a_message_cannot_be_removed() -> None:
    assert (
        compile_edits([edits(remove=("Content-Length", "Transfer-Encoding", "connection", "a b"))]) == CompiledEdits()
    )


def test_a_response_goes_back_without_what_belonged_to_its_connection() -> None:
    head = response(
        "Connection: keep-alive, X-Mine, Set-Cookie", "Keep-Alive: 5", "X-Mine: 1", "Set-Cookie: a=b", "Set-Cookie: c=d",
        "Content-Length: 3", "Upgrade: h2c", "ETag: e",
    )  # fmt: skip
    out = response_to_client(head, request())
    assert lines(out.head) == ["HTTP/1.1 200 OK", "Set-Cookie: a=b", "Set-Cookie: c=d", "ETag: e", "Content-Length: 3"]
    assert (out.framing, out.keep_alive) == (Framing(Kind.LENGTH, 3), True)


@pytest.mark.parametrize(
    ("upstream", "client", "framing", "keep_alive", "said"),
    [
        ("X: y", "GET / HTTP/1.1", CHUNKED, True, "Transfer-Encoding: chunked"),
        ("X: y", "GET / HTTP/1.0", CLOSE, False, "Connection: close"),
        ("Transfer-Encoding: chunked", "GET / HTTP/1.0", CLOSE, False, "Connection: close"),
        ("Transfer-Encoding: chunked", "GET / HTTP/1.1", CHUNKED, True, "Transfer-Encoding: chunked"),
        ("Content-Length: 1", "GET / HTTP/1.0", Framing(Kind.LENGTH, 1), False, "Connection: close"),
    ],
)
def test_the_client_gets_a_framing_it_understands(
    upstream: str, client: str, framing: Framing, keep_alive: bool, said: str
) -> None:
    out = response_to_client(response(upstream), request(line=client))
    assert (out.framing, out.keep_alive) == (framing, keep_alive)
    assert said in lines(out.head)


def test_a_client_of_http_1_0_is_told_that_its_connection_is_kept() -> None:
    client = request("Connection: keep-alive", line="GET / HTTP/1.0")
    out = response_to_client(response("Content-Length: 1"), client)
    assert out.keep_alive
    assert "Connection: keep-alive" in lines(out.head)


def test_a_body_that_ends_with_the_connection_ends_it_whatever_the_client_hoped() -> None:
    client = request("Connection: keep-alive", line="GET / HTTP/1.0")
    out = response_to_client(response("Transfer-Encoding: chunked"), client)
    assert (out.framing, out.keep_alive) == (CLOSE, False)
    assert "Connection: close" in lines(out.head)


def test_a_proxy_that_wants_to_close_says_so() -> None:
    out = response_to_client(response("Content-Length: 1"), request(), close=True)
    assert not out.keep_alive
    assert "Connection: close" in lines(out.head)


def test_lengths_that_describe_another_body_are_kept() -> None:
    out = response_to_client(response("Content-Length: 9", method="HEAD"), request(line="HEAD / HTTP/1.1"))
    assert lines(out.head) == ["HTTP/1.1 200 OK", "Content-Length: 9"]
    out = response_to_client(response("Content-Length: 9", line="HTTP/1.1 304 Not Modified"), request())
    assert lines(out.head) == ["HTTP/1.1 304 Not Modified", "Content-Length: 9"]
    out = response_to_client(response("Content-Length: 9", line="HTTP/1.1 204 No Content"), request())
    assert lines(out.head) == ["HTTP/1.1 204 No Content"]


def test_interim_responses_go_to_clients_that_know_them() -> None:
    hints = response("Link: x", line="HTTP/1.1 103 Early Hints")
    assert lines(response_to_client(hints, request()).head) == ["HTTP/1.1 103 Early Hints", "Link: x"]
    assert response_to_client(hints, request(line="GET / HTTP/1.0")).head == b""


def test_only_the_switch_that_was_asked_for_is_passed_on() -> None:
    client = request("Connection: Upgrade", "Upgrade: websocket")
    switch = response("Upgrade: WebSocket", "Connection: Upgrade", line="HTTP/1.1 101 Switching Protocols")
    out = response_to_client(switch, client)
    assert lines(out.head)[-2:] == ["Connection: Upgrade", "Upgrade: websocket"]
    assert (out.framing.kind, out.keep_alive) == (Kind.TUNNEL, False)
    with pytest.raises(Refusal):
        response_to_client(switch, request())
    with pytest.raises(Refusal):
        response_to_client(response("Upgrade: h2c", line="HTTP/1.1 101 Switching Protocols"), client)


def test_a_tunnel_to_connect_has_no_framing() -> None:
    client = request(line="CONNECT a:80 HTTP/1.1")
    out = response_to_client(response("Content-Length: 3", "X: y", method="CONNECT"), client)
    assert lines(out.head) == ["HTTP/1.1 200 OK", "X: y"]
    assert out.framing.kind is Kind.TUNNEL


def test_a_final_response_may_carry_one_more_cookie() -> None:
    out = response_to_client(response("Content-Length: 0", "Set-Cookie: a=b"), request(), cookie=b"c=d")
    assert [line for line in lines(out.head) if "Cookie" in line] == ["Set-Cookie: a=b", "Set-Cookie: c=d"]
    assert b"c=d" not in response_to_client(response(line="HTTP/1.1 100 Continue"), request(), cookie=b"c=d").head


def test_answers_of_our_own_are_whole() -> None:
    out = answer(request(), 503, b"busy", {"X-A": "b"})
    head, _, body = out.head.partition(b"\r\n\r\n")
    assert lines(head) == [
        "HTTP/1.1 503 Service Unavailable",
        "X-A: b",
        "Content-Length: 4",
        "Content-Type: text/plain; charset=utf-8",
    ]
    assert (body, out.framing, out.keep_alive) == (b"busy", NONE, True)


def test_an_answer_to_what_could_not_be_read_closes() -> None:
    out = answer(None, 400, b"no")
    assert not out.keep_alive
    assert b"Connection: close\r\n" in out.head


def test_answers_to_head_and_without_content_have_no_body() -> None:
    assert answer(request(line="HEAD / HTTP/1.1"), 503, b"busy").head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 4" in answer(request(line="HEAD / HTTP/1.1"), 503, b"busy").head
    assert answer(request(), 204, b"busy").head == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert (
        answer(request(), 503, b"", {"X": "a\r\nY: b", "Content-Length": "9"}).head == answer(request(), 503, b"").head
    )
    assert answer(request(), 599, b"").head.startswith(b"HTTP/1.1 599 \r\n")
    assert b"text/plain" not in answer(request(), 503, b"{}", {"content-type": "application/json"}).head
