"""Bodies in pieces: what is content, where the message ends, and how it is framed anew."""

from __future__ import annotations

import random

import pytest

from chowk.connect.http1.body import reader, writer
from chowk.connect.http1.framing import CHUNKED, CLOSE, NONE, TUNNEL, Framing, Kind
from chowk.connect.http1.limits import Limits
from chowk.connect.http1.refusal import Refusal


def joined(spans: list[bytes | memoryview]) -> bytes:
    return b"".join(spans)


def test_no_body_takes_nothing() -> None:
    body = reader(NONE, 400)
    assert body.done
    assert body.feed(b"GET / HTTP/1.1") == ([], b"GET / HTTP/1.1")
    body.end()


def test_a_counted_body_ends_after_its_length_and_passes_whole_pieces_uncopied() -> None:
    body = reader(Framing(Kind.LENGTH, 5), 400)
    piece = b"abc"
    spans, rest = body.feed(piece)
    assert spans[0] is piece
    assert rest == b""
    assert not body.done
    spans, rest = body.feed(b"deGET")
    assert (joined(spans), rest, body.done) == (b"de", b"GET", True)


def test_a_counted_body_that_is_cut_short_is_refused() -> None:
    body = reader(Framing(Kind.LENGTH, 5), 502)
    body.feed(b"abc")
    with pytest.raises(Refusal) as refused:
        body.end()
    assert (refused.value.status, refused.value.kind) == (502, "truncated")


def test_a_body_until_close_ends_with_the_connection() -> None:
    body = reader(CLOSE, 502)
    assert body.feed(b"abc") == ([b"abc"], b"")
    assert not body.done
    body.end()
    assert body.done


def test_a_tunnel_has_no_body() -> None:
    with pytest.raises(ValueError, match="tunnel"):
        reader(TUNNEL, 502)


def test_chunks_come_apart_wherever_they_are_cut() -> None:
    content = bytes(range(256)) * 3
    message = b"".join(
        b"%x;n=%d\r\n%b\r\n" % (len(part), size, part) for size in (1, 7, 300) for part in [content[:size]]
    )
    message += b"0\r\nA: b\r\nC:d \r\n\r\nNEXT"
    expected = content[:1] + content[:7] + content[:300]
    rng = random.Random(7)
    for _ in range(200):
        body, found, rest = reader(CHUNKED, 400), b"", b""
        at = 0
        while at < len(message) and not body.done:
            step = rng.choice((1, 2, 3, 50, 400))
            spans, rest = body.feed(message[at : at + step])
            found, at = found + joined(spans), at + step
        assert (found, body.done, body.trailers) == (expected, True, ((b"A", b"b"), (b"C", b"d")))
        assert rest + message[at:] == b"NEXT"


def test_content_of_a_chunk_is_a_view_not_a_copy() -> None:
    piece = b"5\r\nabcde\r\n"
    spans, _ = reader(CHUNKED, 400).feed(piece)
    assert isinstance(spans[0], memoryview)
    assert spans[0].obj is piece


def test_chunked_bodies_have_limits_of_their_own() -> None:
    for limits, message, kind in (
        (Limits(chunk_digits_max=2), b"100\r\n", "chunk_size"),
        (Limits(chunk_extension_bytes_max=3), b"1;abc\r\n", "chunk_extension"),
        (Limits(extensions_bytes_max=5), b"1;ab\r\nx\r\n1;ab\r\n", "chunk_extension"),
        (Limits(trailers_max=1), b"0\r\na: b\r\nc: d\r\n", "trailer_count"),
        (Limits(trailer_bytes_max=5), b"0\r\na: b\r\n", "trailer_size"),
        (Limits(trailer_bytes_max=11), b"0\r\na: b\r\nc: d\r\n", "trailer_size"),
    ):
        with pytest.raises(Refusal) as refused:
            reader(CHUNKED, 400, limits).feed(message)
        assert refused.value.kind == kind
        reader(CHUNKED, 400).feed(message)


@pytest.mark.parametrize("start", [b"x", b"\n", b"1\r\nab", b"1\r\na\n"])
def test_what_cannot_become_a_chunk_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(Refusal):
        reader(CHUNKED, 400).feed(start)


@pytest.mark.parametrize(
    ("framing", "message"), [(Framing(Kind.LENGTH, 3), b"abcd"), (CHUNKED, b"0\r\n\r\n"), (NONE, b"")]
)
def test_nothing_after_the_end_is_content(framing: Framing, message: bytes) -> None:
    body = reader(framing, 400)
    body.feed(message)
    assert body.done
    assert body.feed(b"GET / HTTP/1.1") == ([], b"GET / HTTP/1.1")
    body.end()


def test_what_is_framed_anew_is_read_as_the_same() -> None:
    out = writer(CHUNKED)
    sent = joined(out.frame([b"ab", memoryview(b"xcdx")[1:3]])) + joined(out.frame([])) + out.end(((b"A", b"b"),))
    assert sent == b"4\r\nabcd\r\n0\r\nA: b\r\n\r\n"
    body = reader(CHUNKED, 400)
    assert joined(body.feed(sent)[0]) == b"abcd"
    assert body.done
    assert body.trailers == ((b"A", b"b"),)


@pytest.mark.parametrize("framing", [NONE, CLOSE, Framing(Kind.LENGTH, 2)])
def test_other_framings_send_content_as_it_is_and_lose_trailers(framing: Framing) -> None:
    out = writer(framing)
    spans: list[bytes | memoryview] = [b"ab"]
    assert out.frame(spans) is spans
    assert out.end(((b"A", b"b"),)) == b""


def test_an_empty_span_never_ends_a_chunked_body() -> None:
    assert joined(writer(CHUNKED).frame([b""])) == b""
