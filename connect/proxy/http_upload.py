"""The body of a request on its way: checked, framed anew, and kept while it is small enough to be sent once more. Pure.

Kept is everything from the first byte, up to KEPT_BYTES_MAX: for a connection that is not there yet, for another try, for a
mirror. What is longer is passed on and forgotten; then there is no second try.
"""

from __future__ import annotations

from typing import Final

from chowk.connect.http1.body import Span, reader, writer
from chowk.connect.http1.framing import NONE, Framing, Kind

KEPT_BYTES_MAX: Final = 64 * 1024
KEPT_PIECES_MAX: Final = 256
"""More are joined: an object for each byte of a body that drips in would weigh fifty times as much."""


class Upload:
    """One body. `whole`: all that came so far is kept. `received_bytes` counts content."""

    __slots__ = ("_kept", "_reader", "_writer", "received_bytes", "whole")

    def __init__(self, framing: Framing) -> None:
        self._reader = reader(framing, 400)
        self._writer = writer(framing)
        self._kept: list[bytes] = []
        self.received_bytes = 0
        self.whole = True

    @property
    def done(self) -> bool:
        """Whether the body came to its end."""
        return self._reader.done

    @property
    def full(self) -> bool:
        """Whether more is kept than another try may need: who still waits for a connection takes no more now."""
        return self.received_bytes >= KEPT_BYTES_MAX

    def feed(self, data: bytes) -> tuple[list[Span], bytes]:
        """The content in these bytes, and what follows the body. Refusal 400."""
        spans, rest = self._reader.feed(data)
        for span in spans:
            self.received_bytes += len(span)
        return spans, rest

    def keep(self, spans: list[Span]) -> None:
        """Keep content for later, whatever its size: it was not sent yet."""
        if spans:
            self._kept.append(b"".join(spans))  # one copy, however many chunks they were
            if len(self._kept) > KEPT_PIECES_MAX:
                self._kept = [b"".join(self._kept)]

    def passed(self, spans: list[Span]) -> list[Span]:
        """How to send content that came now; it is kept too while there is room."""
        if self.whole:
            if self.full:
                self._forget()
            else:
                self.keep(spans)
        return self._framed(spans)

    def replayed(self) -> list[Span]:
        """How to send everything that came until now. Only while it is `whole`."""
        pieces = self.copied()
        if self.full:
            self._forget()
        return pieces

    def copied(self) -> list[Span]:
        """The same, for somebody else."""
        return self._framed([*self._kept]) if self._kept or self.done else []

    def _framed(self, spans: list[Span]) -> list[Span]:
        pieces = self._writer.frame(spans)
        if self._reader.done:
            end = self._writer.end(self._reader.trailers)
            if end:
                return [*pieces, end]
        return pieces

    def _forget(self) -> None:
        self.whole = False
        self._kept.clear()


class NoUpload(Upload):
    """Of a request without a body; one for all of them."""

    __slots__ = ()

    def replayed(self) -> list[Span]:
        """Nothing."""
        return []

    copied = replayed


_NO_UPLOAD: Final = NoUpload(NONE)


def upload_of(framing: Framing) -> Upload:
    """What takes a body of this framing."""
    return _NO_UPLOAD if framing.kind is Kind.NONE else Upload(framing)
