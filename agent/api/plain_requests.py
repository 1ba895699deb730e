"""What the short ways of plain requests share: how their headers are read, and what the heads of their answers are.

Pure but for the clock. Used by `quick_puts` and `quick_gets`; both take only what can be read in one way.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from chowk.agent.api import access
from chowk.agent.config.model import HttpConfig
from chowk.core.requests import QueryMeta
from chowk.core.runtime.clock import Clock

HEAD_BYTES_MAX: Final = 2048
HEADERS: Final = rb"((?:[A-Za-z-]+: ?[\x21-\x7e][\x20-\x7e]*\r\n)+)\r\n"
"""For a pattern: headers of printable ASCII, none of them empty or folded."""
PLAIN: Final = frozenset(
    (b"host", b"user-agent", b"accept", b"accept-encoding", b"content-type", b"content-length", b"x-consul-token")
)
"""Headers that change nothing, but for `accept-encoding` and the last two; each may come once."""


def may_be_short(http: HttpConfig, head_bytes: int) -> bool:
    """Whether nothing in the configuration is to be judged, or put on the answer, that only the long way knows."""
    restricts = http.block_endpoints or http.allow_write_from or http.response_headers
    return not restricts and head_bytes <= http.max_header_bytes


def plain_headers(block: bytes) -> dict[bytes, bytes] | None:
    """By name in lower case; None when there is one that is not plain, or one comes twice, or `host` is missing, or not
    plain itself."""
    found: dict[bytes, bytes] = {}
    for line in block[:-2].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in PLAIN and not (name == b"connection" and value.strip().lower() == b"keep-alive"):
            return None
        if name in found:
            return None
        found[name] = value.strip()
    return found if access.is_plain(found.get(b"host", b"").decode("ascii")) else None


class Heads:
    """Heads of answers, in the order of headers that aiohttp and `app` write."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0
        self._date = ""

    def make(
        self,
        status: int,
        content_type: str,
        length: int,
        meta: QueryMeta | None = None,
        encoding: str = "",
        view: tuple[bool, int] | None = None,
    ) -> bytes:
        """The head of an answer whose body is `length` bytes; with `meta`, of a read (see `replies.set_meta`); with `view`,
        of one from a view: whether it was there, and its age in seconds (see `reads.mark_from_view`)."""
        read = "" if meta is None else (
            f"X-Consul-Index: {max(1, meta.index)}\r\n"
            f"X-Consul-KnownLeader: {'true' if meta.known_leader else 'false'}\r\n"
            f"X-Consul-LastContact: {meta.last_contact_ms}\r\n"
            f"X-Consul-Effective-Consistency: {meta.consistency}\r\n"
            f"X-Consul-Query-Backend: {'blocking-query' if view is None else 'streaming'}\r\n"
        )  # fmt: skip
        if view is not None:
            read += f"X-Cache: {'HIT' if view[0] else 'MISS'}\r\nAge: {view[1]}\r\n"
        coding = f"Content-Encoding: {encoding}\r\n" if encoding else ""
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n{read}{coding}"
            f"Content-Length: {length}\r\nDate: {self.now()}\r\n"
            "Server: chowk\r\nVary: Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\n"
            "X-Consul-Default-ACL-Policy: allow\r\n\r\n"
        )
        return head.encode("ascii")

    def now(self) -> str:
        """The date of an answer; the same text for a second."""
        second = int(self._clock.wall())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        return self._date
