"""Bodies as they pass: which bytes of what arrives are content, and how to frame them anew. Nothing is collected.

A chunked body is checked strictly, taken apart and framed anew: chunk sizes, extensions and white space of the sender never
reach the next server. Built by `reader` and `writer` for each message, used by the shell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from chowk.connect.http1.framing import Framing, Kind
from chowk.connect.http1.grammar import TOKEN, VALUE
from chowk.connect.http1.limits import LIMITS, Limits
from chowk.connect.http1.refusal import Refusal

Span = bytes | memoryview
"""Content: the piece itself where all of it is content, else a view into it."""
Trailers = tuple[tuple[bytes, bytes], ...]

_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]++)((?:;%b++(?:=(?:%b++|%b))?)*)\r\n" % (TOKEN, TOKEN, _QUOTED))
"""Nothing that may go back stands under a possessive quantifier: Python before 3.11.5 gets that wrong (gh-106052).

No white space: RFC 9112 section 7.1.1 lets only historic senders put it there, and parsers differ about it."""
_PLAIN_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_TRAILER: Final = re.compile(rb"(%b++):[ \t]*+(%b*+)" % (TOKEN, VALUE))
_FORBIDDEN_TRAILERS: Final = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"x-request-id",
    )
)
"""RFC 9110 section 6.5.1: what frames, routes, authenticates or says how to read the content cannot come after it."""


class BodyReader:
    """A body without any content, and the base of the others. `trailers` is filled when a chunked body is done.

    `status` is what a Refusal carries: 400 (some are 431) for requests, 502 for responses.
    """

    def __init__(self, status: int) -> None:
        self.done = True
        self.trailers: Trailers = ()
        self._status = status

    def feed(self, piece: bytes) -> tuple[list[Span], bytes]:
        """The content in these bytes, and those after the message's end (empty until `done`). Raises Refusal."""
        return [], piece

    def end(self) -> None:
        """The sender closed the connection. Refusal when the body is not complete: it was cut short."""
        if not self.done:
            raise Refusal(self._status, "truncated", "the connection ended before the body did")


class _Counted(BodyReader):
    def __init__(self, length: int, status: int) -> None:
        super().__init__(status)
        self._left = length
        self.done = length == 0

    def feed(self, piece: bytes) -> tuple[list[Span], bytes]:
        size, left = len(piece), self._left
        if size <= left:
            self._left = left - size
            self.done = size == left
            return ([piece] if size else []), b""
        self._left, self.done = 0, True
        return ([memoryview(piece)[:left]] if left else []), piece[left:]


class _UntilClose(BodyReader):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.done = False

    def feed(self, piece: bytes) -> tuple[list[Span], bytes]:
        return ([piece] if piece else []), b""

    def end(self) -> None:
        self.done = True


class _Chunked(BodyReader):
    """`_left` counts down the content of the current chunk; `_line` holds the part of a line that has arrived."""

    def __init__(self, limits: Limits, status: int) -> None:
        super().__init__(status)
        self.done = False
        self._limits = limits
        self._left = 0
        self._state = _SIZE
        self._line = bytearray()
        self._extensions = 0
        self._trailer_bytes = 0
        self._found: list[tuple[bytes, bytes]] = []

    def feed(self, piece: bytes) -> tuple[list[Span], bytes]:
        spans: list[Span] = []
        view = memoryview(piece)
        at, size = 0, len(piece)
        while at < size and not self.done:
            if self._state is _CONTENT:
                took = min(self._left, size - at)
                spans.append(view[at : at + took])
                at += took
                self._left -= took
                if not self._left:
                    self._state = _CONTENT_END
                continue
            if self._state is _SIZE and not self._line:
                at = _whole_chunks(piece, view, at, spans)
                if at == size:
                    break
            at = self._collect(piece, at, piece.find(b"\n", at))
        return spans, piece[at:]

    def _collect(self, piece: bytes, at: int, end: int) -> int:
        """One line, or what there is of it; the position after it."""
        stop = len(piece) if end < 0 else end + 1
        if len(self._line) + stop - at > self._line_max():
            raise self._too_long()
        if end < 0:
            self._line += piece[at:stop]
            self._check_start()
        elif self._line:
            line = bytes(self._line) + piece[at:stop]
            self._line.clear()
            self._take(line)
        else:
            self._take(piece[at:stop])
        return stop

    def _line_max(self) -> int:
        limits = self._limits
        if self._state is _SIZE:
            return limits.chunk_digits_max + limits.chunk_extension_bytes_max + 2
        return 2 if self._state is _CONTENT_END else limits.trailer_bytes_max - self._trailer_bytes

    def _too_long(self) -> Refusal:
        if self._state is _SIZE:
            return self._refusal("chunk_size", "a chunk size line that is too long")
        if self._state is _CONTENT_END:
            return self._refusal("chunk_end", "a chunk that is longer than its size")
        return self._refusal("trailer_size", f"trailers of more than {self._limits.trailer_bytes_max} bytes", 431)

    def _check_start(self) -> None:
        """Refuses at once what cannot become a line of this kind."""
        if self._state is _SIZE and self._line[0] not in _HEX:
            raise self._refusal("chunk_size", "a chunk size that is no hexadecimal number")
        if self._state is _CONTENT_END and self._line != b"\r":
            raise self._refusal("chunk_end", "a chunk that is longer than its size")

    def _refusal(self, kind: str, reason: str, status: int = 400) -> Refusal:
        return Refusal(status if self._status == 400 else self._status, kind, reason)

    def _take(self, line: bytes) -> None:
        if self._state is _SIZE:
            self._take_size(line)
        elif self._state is _CONTENT_END:
            if line != b"\r\n":
                raise self._refusal("chunk_end", "a chunk whose content does not end with CRLF")
            self._state = _SIZE
        else:
            self._take_trailer(line)

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(match[1]) > self._limits.chunk_digits_max:
            if not line.endswith(b"\r\n"):
                raise self._refusal("bare_lf", "a chunk size line that ends with LF alone")
            raise self._refusal(
                "chunk_size", "a chunk size that is no hexadecimal number, or an extension that is malformed"
            )
        if len(match[2]) > self._limits.chunk_extension_bytes_max:
            raise self._refusal("chunk_extension", "a chunk extension that is too long")
        self._extensions += len(match[2])
        if self._extensions > self._limits.extensions_bytes_max:
            raise self._refusal("chunk_extension", "too many chunk extensions")
        self._left = int(match[1], 16)
        self._state = _CONTENT if self._left else _TRAILERS

    def _take_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if line == b"\r\n":
            self.trailers = tuple(self._found)
            self.done = True
            return
        if not line.endswith(b"\r\n"):
            raise self._refusal("bare_lf", "a trailer that ends with LF alone")
        match = _TRAILER.fullmatch(line, 0, len(line) - 2)
        if match is None:
            raise self._refusal("trailer", "a trailer that does not follow the grammar of headers")
        name = match[1].lower().replace(b"_", b"-")
        if name in _FORBIDDEN_TRAILERS or name.startswith(b"x-forwarded-"):
            raise self._refusal("forbidden_trailer", "a trailer that frames, routes or authenticates the message")
        if len(self._found) == self._limits.trailers_max:
            raise self._refusal("trailer_count", f"more than {self._limits.trailers_max} trailers", 431)
        self._found.append((match[1], match[2].rstrip(b" \t")))


def _whole_chunks(piece: bytes, view: memoryview, at: int, spans: list[Span]) -> int:
    """Takes the plain chunks that are here completely, quickly; the position of the first other one."""
    match = _PLAIN_SIZE.match(piece, at)
    while match is not None:
        start = match.end()
        end = start + int(match[1], 16)
        if end == start or piece[end : end + 2] != b"\r\n":
            break
        spans.append(view[start:end])
        at = end + 2
        match = _PLAIN_SIZE.match(piece, at)
    return at


_SIZE: Final = "size"
_CONTENT: Final = "content"
_CONTENT_END: Final = "content end"
_TRAILERS: Final = "trailers"
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def reader(framing: Framing, status: int, limits: Limits = LIMITS) -> BodyReader:
    """What reads a body of this framing. ValueError for a tunnel: its bytes are no body.

    `status` is what a Refusal carries: 400 for requests, 502 for responses.
    """
    match framing.kind:
        case Kind.NONE:
            return BodyReader(status)
        case Kind.LENGTH:
            return _Counted(framing.length, status)
        case Kind.CHUNKED:
            return _Chunked(limits, status)
        case Kind.CLOSE:
            return _UntilClose(status)
    raise ValueError("a tunnel has no body")


class BodyWriter:
    """Frames content for the next hop. For `LENGTH` and `CLOSE` content goes out as it is."""

    def __init__(self, chunked: bool) -> None:
        self._chunked = chunked

    def frame(self, spans: list[Span]) -> list[Span]:
        """What to send for this content: one piece becomes one chunk; nothing becomes none, which would be the end."""
        if not self._chunked:
            return spans
        size = sum(map(len, spans))
        return [b"%x\r\n" % size, *spans, b"\r\n"] if size else []

    def end(self, trailers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
        """What to send after the last content; trailers are lost where the framing has none."""
        if not self._chunked:
            return b""
        if not trailers:
            return b"0\r\n\r\n"
        return b"0\r\n" + b"".join([b"%b: %b\r\n" % each for each in trailers]) + b"\r\n"


def writer(framing: Framing) -> BodyWriter:
    """What writes a body of this framing."""
    return BodyWriter(framing.kind is Kind.CHUNKED)
