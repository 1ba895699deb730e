"""What one end of a connection offers: handlers by method name. Filled by the wiring of a server or an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from chowk.core.requests import Method

Q = TypeVar("Q")
A = TypeVar("A")

LOCAL: Final = "local"
AGENT: Final = "agent"
SERVER: Final = "server"


class Peer:
    """Who is at the other end. `pid` and `uid` come from the kernel on a Unix socket, else None.

    `role` is LOCAL on a Unix socket; over TCP it is what the peer's certificate proves, SERVER or AGENT, with the node's
    name and id. Over TCP without certificates (a cluster insecure on purpose) nothing is proved, and the role is SERVER.
    """

    def __init__(
        self,
        name: str,
        pid: int | None = None,
        uid: int | None = None,
        *,
        role: str = LOCAL,
        node: str = "",
        node_id: str = "",
    ) -> None:
        self.name = name
        self.pid = pid
        self.uid = uid
        self.role = role
        self.node = node
        self.node_id = node_id

    @property
    def public_name(self) -> str:
        """For errors that clients of the HTTP API may see: without the number of a process."""
        return self.name if self.pid is None else "the local process"


CallHandler = Callable[[Any, Peer], Awaitable[Any]]
NoticeHandler = Callable[[Any, Peer], None]
StreamHandler = Callable[[Any, Peer], AsyncIterator[Any]]


class Endpoints:
    """A table of handlers. One without an entry answers `invalid: unknown method`."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[Method[Any, Any], CallHandler]] = {}
        self.streams: dict[str, tuple[Method[Any, Any], StreamHandler]] = {}
        self.notices: dict[str, tuple[Method[Any, Any], NoticeHandler]] = {}

    def serve(self, method: Method[Q, A], handler: Callable[[Q, Peer], Awaitable[A]]) -> None:
        """Answer `method` with `handler`, which may raise a ChowkError for the caller."""
        self.calls[method.name] = (method, handler)

    def serve_stream(self, method: Method[Q, A], handler: Callable[[Q, Peer], AsyncIterator[A]]) -> None:
        """Answer `method` with the items of an async generator; it is closed when the caller goes."""
        self.streams[method.name] = (method, handler)

    def serve_notice(self, method: Method[Q, A], handler: Callable[[Q, Peer], None]) -> None:
        """Take one-way messages of `method`; `handler` runs within the loop's turn; its ChowkErrors are dropped."""
        self.notices[method.name] = (method, handler)
