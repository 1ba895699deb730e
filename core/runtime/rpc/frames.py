"""The wire form: a 4-byte big-endian length, then a msgpack array. Pure; called by `connection`.

| kind    | sent by  | meaning                                                                   |
|---------|----------|---------------------------------------------------------------------------|
| REQUEST | caller   | call `method` with `body`; `number` is the deadline in ms (0: none)        |
| STREAM  | caller   | as REQUEST, for many answers; `number` is the first credit                 |
| REPLY   | callee   | the answer; ends the call                                                  |
| ITEM    | callee   | one answer of a stream; costs one credit                                   |
| END     | callee   | the stream is over                                                         |
| ERROR   | callee   | `method` is the error's code, `body` its text; ends the call or the stream |
| CREDIT  | caller   | `number` more items may come                                               |
| CANCEL  | caller   | the caller wants no answer any more                                        |
"""

from __future__ import annotations

from collections.abc import Iterator
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

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
_HEADER_BYTES: Final = 4
_NIL: Final = msgspec.Raw(b"\xc0")


class Frame(msgspec.Struct, frozen=True, array_like=True):
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


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. FrameError when it is over FRAME_BYTES_MAX."""
    payload = _encoder.encode(frame)
    if len(payload) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(payload)} bytes is over the limit of {FRAME_BYTES_MAX}")
    return len(payload).to_bytes(_HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts a byte stream into frames. Holds at most one frame's bytes beyond what was fed."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that `data` completes. FrameError on garbage."""
        self._buffer += data
        position = 0
        try:
            while len(self._buffer) - position >= _HEADER_BYTES:
                length = int.from_bytes(self._buffer[position : position + _HEADER_BYTES], "big")
                if length > self._frame_bytes_max:
                    raise FrameError(f"a frame of {length} bytes is over the limit of {self._frame_bytes_max}")
                end = position + _HEADER_BYTES + length
                if len(self._buffer) < end:
                    break
                payload = bytes(self._buffer[position + _HEADER_BYTES : end])
                position = end
                try:
                    frame = _decoder.decode(payload)
                except (ValueError, RecursionError) as error:
                    raise FrameError(f"not a frame: {error}") from error
                yield frame
        finally:
            del self._buffer[:position]
