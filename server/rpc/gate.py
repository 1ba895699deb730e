"""The one door through which endpoints are offered: none without the permission its method names.

Who may do what is decided by an `Authorizer`; until there are ACLs, whoever may open the server's socket may do everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

from chowk.core.requests import Method
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer

Q = TypeVar("Q")
A = TypeVar("A")


class Authorizer(Protocol):
    """Decides whether a caller may."""

    def require(self, permission: str, token: str, peer: Peer) -> None:
        """PermissionDenied when `token` does not carry `permission` (`resource:access`, "" for what anyone may)."""
        ...


class SocketOwner:
    """Trusts the file mode of the Unix socket: only the user we run as, and root, can be a caller."""

    def require(self, permission: str, token: str, peer: Peer) -> None:
        """Everyone who got here may."""


class Gate:
    """Adds handlers to `endpoints`, each behind its method's permission."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self.endpoints = Endpoints()

    def serve(self, method: Method[Q, A], handler: Callable[[Q], Awaitable[A]]) -> None:
        """Answer `method` with `handler`."""

        async def guarded(request: Q, peer: Peer) -> A:
            self._authorizer.require(method.permission, _token(request), peer)
            return await handler(request)

        self.endpoints.serve(method, guarded)

    def serve_stream(self, method: Method[Q, A], handler: Callable[[Q], AsyncIterator[A]]) -> None:
        """Answer `method` with the items of `handler`."""

        def guarded(request: Q, peer: Peer) -> AsyncIterator[A]:
            self._authorizer.require(method.permission, _token(request), peer)
            return handler(request)

        self.endpoints.serve_stream(method, guarded)


def _token(request: object) -> str:
    options = getattr(request, "options", request)
    return str(getattr(options, "token", ""))
