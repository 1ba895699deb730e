"""The wire form: a 4-byte big-endian length, then a msgpack array. Pure; called by `connection`.

| kind    | sent by  | meaning                                                                   |
|---------|----------|---------------------------------------------------------------------------|
| REQUEST | caller   | call `method` with `body`; `number` is the deadline in ms (0: none)        |
| STREAM  | caller   | as REQUEST, for many answers; `number` is the first credit                 |
| REPLY   | callee   | the answer; ends the call                                                  |
| ITEM    | callee   | one answer of a stream; costs one credit                                   |
| END     | callee   | the stream is over                                                         |
| ERROR   | callee   | `method` is the error's code, `body` its text; ends the call or the stream; call 0: the connection |
| CREDIT  | caller   | `number` more items may come                                               |
| CANCEL  | caller   | the caller wants no answer any more                                        |
| NOTICE  | either   | `body` for `method`; no answer                                             |
| PING    | either   | are you there? The first frame on a TCP connection                         |
| PONG    | either   | answers a PING                                                             |
"""

from __future__ import annotations

from typing import Final

import msgspec

REQUEST: Final = 0
STREAM: Final = 1
REPLY: Final = 2
ITEM: Final = 3
END: Final = 4
ERROR: Final = 5
CREDIT: Final = 6
CANCEL: Final = 7
NOTICE: Final = 8
PING: Final = 9
PONG: Final = 10

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
FIRST_FRAME_BYTES_MAX: Final = 64 * 1024
"""The limit for a stranger, until the first frame of a connection was one."""

_HEADER_BYTES: Final = 4
_NIL: Final = msgspec.Raw(b"\xc0")


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One frame; which fields mean something depends on `kind`."""

    kind: int
    call: int
    method: str = ""
    number: int = 0
    body: msgspec.Raw = _NIL


class FrameError(ValueError):
    """The peer sent what is not a frame, or one over the limit; the connection is of no more use."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(kind: int, call: int, method: str = "", number: int = 0, body: object = None) -> bytearray:
    """The bytes of a frame; `body` is a record, encoded here, in one go. FrameError when it is over FRAME_BYTES_MAX."""
    buffer = bytearray(_HEADER_BYTES)
    _encoder.encode_into((kind, call, method, number, body), buffer, _HEADER_BYTES)
    length = len(buffer) - _HEADER_BYTES
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
    buffer[:_HEADER_BYTES] = length.to_bytes(_HEADER_BYTES, "big")
    return buffer


class FrameReader:
    """Cuts a byte stream into frames. Holds at most one frame's bytes beyond what was fed.

    `frame_bytes_max` may be changed between two feeds.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._pending = bytearray()
        self._needed = _HEADER_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that `data` completes. FrameError on garbage."""
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        view = memoryview(data)
        found: list[Frame] = []
        start, size = 0, len(data)
        while True:
            end = start + _HEADER_BYTES
            if end <= size:
                length = int.from_bytes(view[start:end], "big")
                if length > self.frame_bytes_max:
                    raise FrameError(f"a frame of {length} bytes is over the limit of {self.frame_bytes_max}")
                end += length
            if end > size:
                break
            found.append(_decode(view[start + _HEADER_BYTES : end]))
            start = end
        self._pending += view[start:]
        self._needed = end - start
        return found


def _decode(payload: memoryview) -> Frame:
    try:
        return _decoder.decode(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from error
