"""What we let through, h11 and llhttp read as we do; and so do all of us what we write. Random messages by seed, bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from chowk.connect.http1 import body
from chowk.connect.http1.forwarding import Passage, request_to_upstream, response_to_client
from chowk.connect.http1.framing import Kind
from chowk.connect.http1.heads import RequestHead, RequestReader, ResponseHead, ResponseReader, parse_request
from chowk.connect.http1.refusal import Refusal
from support.http_corpus import cases
from support.http_oracles import h11_request, h11_response, llhttp_request

ROUNDS = 3000
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
PLAIN = [case["bytes"] for case in cases("accepted").values()]
SEEDS = PLAIN + [case["bytes"] for case in cases("requests").values() if len(case["bytes"]) < 400]
FRAGMENTS = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\x00", b"\x0b", b"\x7f", b"\xff", b"_", b"%", b"%2e", b"%2f",
    b"..", b"//", b"0", b"1", b"a", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"chunked",
    b"Connection: close\r\n", b"HTTP/1.0", b"HTTP/1.1", b"0\r\n\r\n", b"1\r\nx\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\n",
)  # fmt: skip
PASSAGE = Passage(forwarded_for=b"10.0.0.1", forwarded_proto=b"http", client_cert=b"By=x;URI=y")


def read(message: bytes, pieces: Iterator[bytes]) -> tuple[RequestHead, bytes, body.Trailers] | Refusal | None:
    """Our reading of the first request; None when it is not complete."""
    heads, head, bodies, content = RequestReader(), None, None, b""
    try:
        for piece in pieces:
            if head is None or bodies is None:
                found = heads.feed(piece)
                if found is None:
                    continue
                head, piece = found
                bodies = body.reader(head.framing, 400)
            if not bodies.done:
                content += b"".join(bodies.feed(piece)[0])
            if bodies.done:
                return head, content, bodies.trailers
    except Refusal as refusal:
        return refusal
    return None


def whole(message: bytes) -> Iterator[bytes]:
    yield message


def in_pieces(message: bytes, rng: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(message):
        step = rng.choice((1, 1, 2, 5, 40))
        yield message[at : at + step]
        at += step


def mutated(rng: random.Random) -> bytes:
    """A message of the corpus with one to four changes."""
    message = bytearray(rng.choice(SEEDS if rng.random() < 0.3 else PLAIN))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(message) + 1)
        match rng.randrange(4):
            case 0:
                message[at:at] = rng.choice(FRAGMENTS)
            case 1:
                del message[at : at + rng.choice((1, 1, 2, 8))]
            case 2:
                message[at : at + 1] = bytes((rng.randrange(256),))
            case _:
                other = rng.choice(SEEDS)
                cut = rng.randrange(len(other) + 1)
                message[at:] = other[cut:]
    return bytes(message)


def known_method(head: RequestHead) -> bool:
    """llhttp knows methods by name only, and takes some for those of other protocols."""
    return head.method in METHODS


@pytest.mark.parametrize("seed", range(4))
def test_what_passes_is_read_by_others_as_by_us(seed: int) -> None:
    rng = random.Random(seed)
    passed = 0
    for _ in range(ROUNDS):
        message = mutated(rng)
        found = read(message, whole(message))
        if not isinstance(found, tuple):
            continue
        head, content, trailers = found
        passed += 1
        ours = tuple((name.lower(), value) for name, value in head.headers)
        if not head.upgrade and head.method != "CONNECT":
            theirs = h11_request(message)
            assert theirs is not None, message
            assert (theirs.start, theirs.body) == ((head.method.encode(), head.target), content), message
            if head.get(b"transfer-encoding") in (b"", b"chunked"):
                assert theirs.headers == ours, message
        if known_method(head) and not head.upgrade and b"upgrade" not in head.index:
            reading = llhttp_request(message)
            assert reading is not None, message
            assert reading.start == (head.method.encode(), head.target), message
            assert reading.body == content, message
            assert reading.headers == (*ours, *((name.lower(), value) for name, value in trailers)), message
    assert passed > ROUNDS / 20


@pytest.mark.parametrize("seed", range(4))
def test_cutting_a_message_changes_nothing(seed: int) -> None:
    rng = random.Random(1000 + seed)
    for _ in range(ROUNDS):
        message = mutated(rng)
        expected, found = read(message, whole(message)), read(message, in_pieces(message, rng))
        if isinstance(expected, Refusal) or isinstance(found, Refusal):
            assert isinstance(found, Refusal), message
            assert isinstance(expected, Refusal), message
        else:
            assert found == expected, message


@pytest.mark.parametrize("seed", range(2))
def test_what_we_forward_is_read_by_everybody_as_we_meant_it(seed: int) -> None:
    rng = random.Random(2000 + seed)
    for _ in range(ROUNDS):
        message = mutated(rng)
        found = read(message, whole(message))
        if not isinstance(found, tuple):
            continue
        head, content, trailers = found
        out = request_to_upstream(head, PASSAGE, lambda: b"made")
        frames = body.writer(out.framing)
        spans: list[body.Span] = [content] if content else []
        sent = out.head + b"".join(frames.frame(spans)) + frames.end(trailers)
        again = read(sent, whole(sent))
        assert isinstance(again, tuple), (message, sent)
        assert again[1:] == (content, trailers), (message, sent)
        assert (again[0].method, again[0].path, again[0].key, again[0].query) == (
            head.method,
            head.path,
            head.key,
            head.query,
        )
        assert again[0].framing == head.framing
        assert again[0].upgrade == head.upgrade
        assert [value for name, value in again[0].headers if name.lower() == b"x-forwarded-client-cert"] == [
            b"By=x;URI=y"
        ]
        if head.upgrade or head.method == "CONNECT":
            continue
        for reading in (h11_request(sent), llhttp_request(sent) if known_method(head) else None):
            if reading is not None:
                assert reading.body == content, (message, sent)
        assert h11_request(sent) is not None, (message, sent)
        assert llhttp_request(sent) is not None or not known_method(head), (message, sent)


RESPONSES = [case["bytes"] for case in cases("responses").values() if len(case["bytes"]) < 400] + [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nabc",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
]


def read_response(message: bytes, method: str) -> tuple[ResponseHead, bytes, body.Trailers] | None:
    """Our reading of a final response that ends with its connection."""
    try:
        found = ResponseReader().feed(message, method)
        if found is None or found[0].interim or found[0].framing.kind is Kind.TUNNEL:
            return None
        bodies = body.reader(found[0].framing, 502)
        content = b"".join(bodies.feed(found[1])[0])
        bodies.end()
        return found[0], content, bodies.trailers
    except Refusal:
        return None


@pytest.mark.parametrize("seed", range(2))
def test_responses_are_read_as_others_read_them_before_and_after_us(seed: int) -> None:
    rng = random.Random(3000 + seed)
    client = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    passed = 0
    for _ in range(ROUNDS):
        message = bytearray(rng.choice(RESPONSES))
        at = rng.randrange(len(message))
        message[at : at + rng.randrange(2)] = rng.choice(FRAGMENTS)
        found = read_response(bytes(message), "GET")
        theirs = h11_response(bytes(message), "GET")
        if found is None or theirs is None or found[0].status >= 600:
            continue
        passed += 1
        head, content, trailers = found
        assert (theirs.start, theirs.body) == ((b"%d" % head.status, head.reason), content), message
        out = response_to_client(head, client)
        frames = body.writer(out.framing)
        spans: list[body.Span] = [content] if content else []
        sent = out.head + b"".join(frames.frame(spans)) + frames.end(trailers)
        again = read_response(sent, "GET")
        assert again is not None, (message, sent)
        assert (again[0].status, again[1:]) == (head.status, (content, trailers)), (message, sent)
        assert again[0].keep_alive == out.keep_alive
        reading = h11_response(sent, "GET")
        assert reading is not None, (message, sent)
        assert reading.body == content, (message, sent)
    assert passed > ROUNDS / 20


def test_the_oracles_do_refuse() -> None:
    assert h11_request(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n") is None
    assert llhttp_request(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n") is None
