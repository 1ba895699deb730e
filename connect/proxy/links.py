"""The two ends of a carried connection: bytes between an application (plain) and another proxy (TLS). The data path.

TLS is driven over memory buffers by us rather than by the loop's TLS transports, for three reasons: half-close (a TLS 1.3
side may send close_notify and go on reading, RFC 8446 section 6.1; the transports cannot), sessions can be resumed, and
handshakes can be paced. All received bytes are decrypted at once, so after each event OpenSSL holds no input; a slow reader
is answered by not reading from the socket, which bounds memory.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from chowk.connect.proxy.client_hello import offers_session
from chowk.connect.proxy.link import Link, buffer
from chowk.connect.proxy.tally import Tally

RECORD_BYTES: Final = 16 * 1024
"""The most plaintext of one TLS record."""
HANDSHAKE_BYTES_MAX: Final = 64 * 1024


class PlainLink(Link):
    """The application's end. What it sends before the pipe starts, at most one read, is kept until then.

    Reading cannot be paused earlier: uvloop begins to read after `connection_made`, whatever was paused in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._early = b""
        self._early_end = False

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop."""
        pipe = self.pipe
        if pipe is None:
            self._early += buffer[:nbytes]
            self.pause_reading()
            return
        pipe.active = True
        pipe.tally.to_mesh_bytes += nbytes
        pipe.tls.send(buffer[:nbytes])

    def eof_received(self) -> bool:
        """Called by the loop; True keeps the other direction open."""
        if self.pipe is not None:
            self.pipe.plain_ended()
        else:
            self._early_end = True
        return True

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send all of these, in one call of the kernel."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(pieces)

    def release(self, pipe: Pipe) -> None:
        """The pipe starts: what came early goes first."""
        if self._early:
            early, self._early = self._early, b""
            pipe.tally.to_mesh_bytes += len(early)
            pipe.tls.send(memoryview(early))
        if self._early_end:
            pipe.plain_ended()

    def pause_writing(self) -> None:
        """Called by the loop when the application reads slowly."""
        if self.pipe is not None:
            self.pipe.tls.pause_reading()

    def resume_writing(self) -> None:
        """Called by the loop."""
        if self.pipe is not None:
            self.pipe.tls.resume_reading()


class TlsLink(Link):
    """The mesh's end. `on_secured` or `on_failed(reason)` is called once, when the handshake has ended."""

    def __init__(
        self,
        *,
        run_step: Callable[[Callable[[], None]], None],
        on_secured: Callable[[TlsLink], None],
        on_failed: Callable[[TlsLink, str], None],
    ) -> None:
        super().__init__()
        self._run_step = run_step
        self._on_secured = on_secured
        self._on_failed = on_failed
        self._on_session: Callable[[ssl.SSLSession], None] | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl: ssl.SSLObject | None = None
        self._begin: Callable[[], ssl.SSLObject] | None = None
        self._handshaking = True
        self._step_waits = self._mesh_ended = False

    def start(self, context: ssl.SSLContext, *, server_side: bool, session: ssl.SSLSession | None = None) -> None:
        """Begin the handshake. A client speaks first; a server waits for bytes."""
        self._begin = partial(self._accept, context) if server_side else partial(self._connect, context, session)
        self._want_step()

    def _connect(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
        return context.wrap_bio(self._incoming, self._outgoing, session=session)

    def _accept(self, context: ssl.SSLContext) -> ssl.SSLObject:
        hello = self._incoming.read()
        self._incoming.write(hello)
        context.num_tickets = 0 if offers_session(hello) else 1
        return context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def peer_leaf(self) -> bytes | None:
        """The peer's certificate (DER) after the handshake."""
        return self._ssl.getpeercert(binary_form=True) if self._ssl is not None else None

    @property
    def resumed(self) -> bool:
        """Whether the handshake continued an earlier session."""
        return bool(self._ssl is not None and self._ssl.session_reused)

    def offer_session(self, take: Callable[[ssl.SSLSession], None]) -> None:
        """Hand the peer's ticket to `take`, once it has come."""
        self._on_session = take

    @property
    def drained(self) -> bool:
        """Whether the peer has said that it sends no more."""
        return self._mesh_ended

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop."""
        self._incoming.write(buffer[:nbytes])
        if self._handshaking:
            if self._incoming.pending > HANDSHAKE_BYTES_MAX:
                self.pause_reading()  # a peer may send its data right behind the handshake: the step reads first
            if self._ssl is not None:
                self._want_step()
        else:
            self.pump()

    def pump(self) -> None:
        """Decrypt everything received and hand it to the application's end."""
        pipe, tls = self.pipe, self._ssl
        if pipe is None or tls is None:
            return
        pipe.active = True
        try:
            pieces, over = self._decrypted(tls)
        except OSError:
            pipe.reset()
            return
        if pieces:
            pipe.answered = True
            pipe.tally.from_mesh_bytes += sum(map(len, pieces))
            pipe.plain.write(pieces)
        if over:
            self._ended()
            return
        if self._outgoing.pending:
            self._flush()
        if self._on_session is not None:
            self._offer_session(tls)

    def _decrypted(self, tls: ssl.SSLObject) -> tuple[list[bytes], bool]:
        """What has come, in pieces, and whether the peer said that it was all. OSError (ssl.SSLError is one): broken."""
        incoming = self._incoming
        pieces: list[bytes] = []
        try:
            while incoming.pending:
                data = tls.read(RECORD_BYTES)
                if not data:
                    return pieces, True
                pieces.append(data)
        except ssl.SSLWantReadError:
            """The rest of a record is still to come, or a ticket was all there was."""
        except ssl.SSLZeroReturnError:
            return pieces, True
        return pieces, False

    def send(self, data: memoryview) -> None:
        """Encrypt and send."""
        tls = self._ssl
        if tls is None:
            return
        try:
            while data:
                data = data[tls.write(data) :]
        except (ssl.SSLError, OSError):
            (self.pipe or self).reset()
            return
        self._flush()

    def end_sending(self) -> None:
        """Tell the peer that no more comes (close_notify); receiving goes on.

        OpenSSL holds no input now (see above), so the reading that unwrap would do next finds nothing and is left undone.
        """
        if self._ssl is not None:
            with contextlib.suppress(ssl.SSLError):
                self._ssl.unwrap()
            self._flush()

    def eof_received(self) -> bool:
        """Called by the loop. An end of TCP without close_notify is a cut, not an end: the application must not trust it."""
        if self._handshaking:
            self.fail("closed during the handshake")
        elif self._mesh_ended:
            return True
        elif self.pipe is not None:
            self.pipe.reset()
        else:
            self.reset()
        return False

    def pause_writing(self) -> None:
        """Called by the loop when the peer reads slowly."""
        if self.pipe is not None:
            self.pipe.plain.pause_reading()

    def resume_writing(self) -> None:
        """Called by the loop."""
        if self.pipe is not None and not self.pipe.plain_done:
            self.pipe.plain.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        if self._handshaking:
            self.fail(f"lost during the handshake: {exc}" if exc else "closed during the handshake")
        super().connection_lost(exc)

    def fail(self, reason: str) -> None:
        """End the handshake without success; an alert that explains it is sent first, if OpenSSL made one."""
        if not self._handshaking:
            return
        self._handshaking = False
        self._begin = None
        self._flush()
        self.close()
        self._on_failed(self, reason)

    def _want_step(self) -> None:
        if not self._step_waits:
            self._step_waits = True
            self._run_step(self._step)

    def _step(self) -> None:
        self._step_waits = False
        if not self._handshaking:
            return
        try:
            tls = self._ssl
            if tls is None:
                tls = self._ssl = self._begun()  # with a session that is a fifth of the whole work, so a step's too
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            self.resume_reading()
            return
        except (ssl.SSLError, OSError) as error:
            self.fail(_reason(error))
            return
        self._handshaking = False
        self._flush()
        self.pause_reading()
        self._on_secured(self)

    def _begun(self) -> ssl.SSLObject:
        begin, self._begin = self._begin, None  # it refers to this link
        if begin is None:
            raise RuntimeError("a handshake takes steps after its start")
        return begin()

    def _ended(self) -> None:
        if not self._mesh_ended and self.pipe is not None:
            self._mesh_ended = True
            self.pipe.mesh_ended()

    def _offer_session(self, tls: ssl.SSLObject) -> None:
        session = tls.session
        if session is not None and session.has_ticket and self._on_session is not None:
            self._on_session(session)
            self._on_session = None

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


class Pipe:
    """A TLS link and a plain link, joined. `on_end` is called once, when both are gone.

    `answered`: a byte came from the far end. `cut_by_mesh`: that end went away before both streams were over.
    """

    def __init__(self, tls: TlsLink, plain: PlainLink, tally: Tally, on_end: Callable[[Pipe], None]) -> None:
        self.tls = tls
        self.plain = plain
        self.tally = tally
        self.active = True
        self.quiet_looks = 0
        self.plain_done = self.answered = self.cut_by_mesh = False
        self._on_end = on_end
        self._over = False

    def start(self) -> None:
        """Let bytes flow. Both links must be connected, the TLS one secured."""
        self.tls.pipe = self.plain.pipe = self
        if self.tls.lost or self.plain.lost:
            self.reset()
            self.link_lost(self.tls)
            return
        self.tls.pump()
        self.plain.release(self)
        self.tls.resume_reading()
        if not self.plain_done:
            self.plain.resume_reading()

    def plain_ended(self) -> None:
        """The application sends no more."""
        self.plain_done = True
        self.tls.end_sending()
        self._close_if_done()

    def mesh_ended(self) -> None:
        """The other proxy sends no more."""
        transport = self.plain.transport
        if transport is not None and not transport.is_closing():
            transport.write_eof()
        self._close_if_done()

    def reset(self) -> None:
        """End both at once."""
        self.tls.reset()
        self.plain.reset()

    def link_lost(self, link: Link) -> None:
        """One of the two is gone. If its stream was not over, the other end must learn that it was cut."""
        if not (self.plain_done and self.tls.drained):
            self.cut_by_mesh = self.cut_by_mesh or (link is self.tls and not self.plain.lost)
            (self.plain if link is self.tls else self.tls).reset()
        if self.tls.lost and self.plain.lost and not self._over:
            self._over = True
            self._on_end(self)
            self.tls.pipe = self.plain.pipe = (
                None  # what refers to each other waits for the collector, with all its buffers
            )

    def _close_if_done(self) -> None:
        if self.plain_done and self.tls.drained:
            self.tls.close()
            self.plain.close()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return str(getattr(error, "reason", None) or error)
