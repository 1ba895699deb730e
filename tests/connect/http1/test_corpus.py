"""What two servers could read in two ways is refused, however it is cut into pieces; what is plain passes."""

from __future__ import annotations

from typing import Any

import pytest

from chowk.connect.http1 import body
from chowk.connect.http1.heads import RequestHead, RequestReader, ResponseReader
from chowk.connect.http1.path import normalise
from chowk.connect.http1.refusal import Refusal
from support import http_corpus

REFUSED = http_corpus.cases("requests")
RESPONSES = http_corpus.cases("responses")
ACCEPTED = http_corpus.cases("accepted")
PIECES_MAX = 400


def request_of(pieces: list[bytes]) -> tuple[RequestHead, bytes]:
    """The first request in these bytes and its body. Raises Refusal; ValueError when they end before the request does."""
    heads, bodies, head, content = RequestReader(), None, None, b""
    for piece in pieces:
        if head is None or bodies is None:
            found = heads.feed(piece)
            if found is None:
                continue
            head, piece = found
            bodies = body.reader(head.framing, 400)
        if not bodies.done:
            content += b"".join(bodies.feed(piece)[0])
    if head is None or bodies is None or not bodies.done:
        raise ValueError("incomplete")
    return head, content


def cuts(message: bytes) -> list[list[bytes]]:
    """The message whole, byte by byte, and in two pieces at every place."""
    if len(message) > PIECES_MAX:
        return [[message], [message[at : at + 1] for at in range(len(message))]]
    halves = [[message[:at], message[at:]] for at in range(1, len(message))]
    return [[message], [message[at : at + 1] for at in range(len(message))], *halves]


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_ambiguous_request_is_refused_for_its_own_reason_wherever_it_is_cut(case: dict[str, Any]) -> None:
    for pieces in cuts(case["bytes"]):
        with pytest.raises(Refusal) as refused:
            request_of(pieces)
        assert (refused.value.status, refused.value.kind) == (case["status"], case["kind"]), pieces[:3]
        assert refused.value.reason


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED)
def test_a_plain_request_is_read_the_same_wherever_it_is_cut(case: dict[str, Any]) -> None:
    first, content = request_of([case["bytes"]])
    assert first.path == case["path"].encode()
    assert first.framing.kind.value == case["framing"]
    assert first.keep_alive == case.get("keep_alive", True)
    assert content == case.get("body", "").encode()
    for pieces in cuts(case["bytes"]):
        assert request_of(pieces) == (first, content)


@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)
def test_a_response_that_lies_is_refused_wherever_it_is_cut(case: dict[str, Any]) -> None:
    for pieces in cuts(case["bytes"]):
        with pytest.raises(Refusal) as refused:
            read_response(pieces, case.get("method", "GET"))
        assert (refused.value.status, refused.value.kind) == (502, case["kind"]), pieces[:3]


def read_response(pieces: list[bytes], method: str) -> None:
    heads, bodies = ResponseReader(), None
    for piece in pieces:
        if bodies is None:
            found = heads.feed(piece, method)
            if found is None:
                continue
            bodies, piece = body.reader(found[0].framing, 502), found[1]
        if not bodies.done:
            bodies.feed(piece)
    if bodies is not None:
        bodies.end()


@pytest.mark.parametrize(("raw", "path", "key"), http_corpus.paths())
def test_a_path_has_one_normal_form_and_one_meaning(raw: str, path: str, key: str) -> None:
    normal, meaning = normalise(raw.encode("latin-1"))
    assert (normal.decode("latin-1"), meaning.decode("latin-1")) == (path, key)
    assert normalise(normal) == (normal, meaning)


def test_the_corpus_says_why_each_case_is_there() -> None:
    assert all(case["why"] for cases in (REFUSED, RESPONSES, ACCEPTED) for case in cases.values())
    assert len({case["bytes"] for case in REFUSED.values()}) == len(REFUSED)
