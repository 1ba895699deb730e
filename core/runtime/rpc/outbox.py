"""What a connection has to send: the frames of one turn of the loop go out in one write. Used by `connection`.

One write costs a system call, and under TLS a record: a hundred small frames cost as much as one that way.
"""

from __future__ import annotations

import asyncio
from typing import Final

WRITE_BUFFER_BYTES: Final = 1024 * 1024
"""Over this, `full`: notices are dropped, calls and answers wait for `room`."""

OUTBOX_BYTES_MAX: Final = 64 * 1024 * 1024
"""Over this the peer is not reading, and the connection is dropped."""


class Outbox:
    """Takes frames from the start; sends once `attach`ed. Nothing is sent after `detach`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._frames: list[bytearray] = []
        self._bytes = 0
        self._paused = False
        self._flushing = False
        self._room = asyncio.Event()
        self._room.set()

    def attach(self, transport: asyncio.Transport) -> None:
        """Send over `transport` from now on."""
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._transport = transport

    def detach(self) -> None:
        """The transport is gone: forget what was not sent, and let everybody go who waits."""
        self._transport = None
        self._frames.clear()
        self._bytes = 0
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether more is waiting than WRITE_BUFFER_BYTES."""
        return self._paused or self._bytes > WRITE_BUFFER_BYTES

    async def room(self) -> None:
        """Return when it is not full, or detached."""
        while self.full and self._transport is not None:
            self._room.clear()
            await self._room.wait()

    def put(self, frame: bytearray) -> None:
        """Send a frame at the end of this turn of the loop. Dropped when there is no transport."""
        if self._transport is None:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand everything to the transport now."""
        self._flushing = False
        if not self._frames or self._transport is None:
            return
        data = self._frames[0] if len(self._frames) == 1 else b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        if self._transport.get_write_buffer_size() + len(data) > OUTBOX_BYTES_MAX:
            self._transport.abort()
            return
        self._transport.write(data)
        if not self._paused:
            self._room.set()

    def pause(self, paused: bool) -> None:
        """Called by the transport: its buffer is over, or again under, its limit."""
        self._paused = paused
        if not paused:
            self._room.set()
