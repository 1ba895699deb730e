"""The two ends of a carried connection when it speaks HTTP: they hand whole reads to an `End` instead of a pipe.

Without an `end` they are the links they come from, so a connection that stops being HTTP (WebSocket, CONNECT) is joined to a
`Pipe` as it is. Made by the listeners and dialled by the pools.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from typing import Final, Protocol

from chowk.connect.proxy.link import READ_BYTES
from chowk.connect.proxy.links import PlainLink, TlsLink
from chowk.connect.proxy.tally import Tally

JOINED_BYTES_MAX: Final = 16 * 1024
"""Up to this, pieces are copied together: cheaper than a system call with many."""


class End(Protocol):
    """Who follows what comes over a wire."""

    def received(self, data: bytes) -> None:
        """Bytes came: all of one read, in order."""

    def ended(self) -> None:
        """The peer says that it sends no more. Called at most once; what it may still be sent is its own affair."""

    def lost(self) -> None:
        """The connection is gone. Called exactly once."""

    def writing_paused(self) -> None:
        """The peer reads slowly."""

    def writing_resumed(self) -> None:
        """It has caught up."""


class PlainWire(PlainLink):
    """A connection with an application. `dialled`: the application is the server, whose answer may come to the last."""

    end: End | None = None
    dialled = True

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop."""
        if self.end is None:
            super().buffer_updated(nbytes)
        else:
            self.end.received(self.get_buffer(nbytes)[:nbytes].tobytes())

    def eof_received(self) -> bool:
        """Called by the loop; True keeps the other direction open."""
        if self.end is None:
            return super().eof_received()
        self.end.ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        last = self._last_words() if exc is not None and self.dialled and self.end is not None else b""
        super().connection_lost(exc)
        if last and self.end is not None:
            self.end.received(last)
        if self.end is not None:
            end, self.end = self.end, None  # what refers to each other waits for the collector, with all its buffers
            end.lost()

    def _last_words(self) -> bytes:
        """What the peer said before it went, when writing has failed before that could be read: many applications answer a
        large request early and close, unread bytes make that a reset, and the answer would be lost. At most one read.
        """
        sock = self.transport.get_extra_info("socket") if self.transport is not None else None
        if sock is None or sock.fileno() < 0:
            return b""
        try:
            with socket.socket(fileno=os.dup(sock.fileno())) as own:
                return own.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except OSError:
            return b""

    def pause_writing(self) -> None:
        """Called by the loop."""
        if self.end is None:
            super().pause_writing()
        else:
            self.end.writing_paused()

    def resume_writing(self) -> None:
        """Called by the loop."""
        if self.end is None:
            super().resume_writing()
        else:
            self.end.writing_resumed()

    def begin(self) -> bool:
        """A dialled wire has got its end. False when the server spoke first, or has gone already."""
        self.resume_reading()
        return not (self._early or self._early_end or self.lost)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send all of these."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if len(pieces) == 1:
            transport.write(pieces[0])
        elif sum(map(len, pieces)) <= JOINED_BYTES_MAX:
            transport.write(b"".join(pieces))
        else:
            transport.writelines(pieces)

    def end_sending(self) -> None:
        """Tell the peer that no more comes; receiving goes on."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def finish(self) -> None:
        """Send what is buffered, then a proper end."""
        self.close()


class TlsWire(TlsLink):
    """A connection with another proxy. `context` is the one a dialled wire was made with; `tally` counts its content."""

    end: End | None = None
    tally: Tally | None = None
    context: ssl.SSLContext | None = None

    def pump(self) -> None:
        """Decrypt everything received and hand it on in one piece."""
        end, tls = self.end, self._ssl
        if end is None or tls is None:
            super().pump()
            return
        try:
            pieces, over = self._decrypted(tls)
        except OSError:
            self.reset()
            return
        if self._outgoing.pending:
            self._flush()
        if self._on_session is not None:
            self._offer_session(tls)
        if pieces:
            content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self.tally is not None:
                self.tally.from_mesh_bytes += len(content)
            end.received(content)
        if over and not self._mesh_ended:
            self._mesh_ended = True
            if self.end is not None:
                self.end.ended()
            elif self.pipe is not None:
                self.pipe.mesh_ended()

    def eof_received(self) -> bool:
        """Called by the loop. An end of TCP without close_notify is a cut, not an end."""
        if self.end is None or self._handshaking:
            return super().eof_received()
        if self._mesh_ended:
            return True
        self.reset()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        super().connection_lost(exc)
        if self.end is not None:
            end, self.end = self.end, None  # see PlainWire
            end.lost()

    def pause_writing(self) -> None:
        """Called by the loop."""
        if self.end is None:
            super().pause_writing()
        else:
            self.end.writing_paused()

    def resume_writing(self) -> None:
        """Called by the loop."""
        if self.end is None:
            super().resume_writing()
        else:
            self.end.writing_resumed()

    def begin(self) -> bool:
        """The wire has got its end: what came right behind the handshake is read. False when the peer has gone already."""
        self.pump()
        self.resume_reading()
        return not self.lost

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Encrypt and send all of these."""
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if content:
            if self.tally is not None:
                self.tally.to_mesh_bytes += len(content)
            self.send(memoryview(content))

    def finish(self) -> None:
        """Send what is buffered, then a proper end."""
        self.end_sending()
        self.close()


Wire = PlainWire | TlsWire
