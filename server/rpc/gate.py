"""The one door through which endpoints are offered: none without the permission its method names.

Who may do what is decided by an `Authorizer`. `Roles` goes by who the peer is: the kernel says so on the Unix socket, the
certificate on TCP. There are no ACLs yet: what a role may, it may for everything.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol, TypeVar

from chowk.core.cluster_requests import LOCAL as AGENT_LOCAL
from chowk.core.errors import PermissionDenied
from chowk.core.peer_requests import PEER
from chowk.core.requests import Method
from chowk.core.runtime.rpc.endpoints import AGENT, LOCAL, SERVER, Endpoints, Peer

Q = TypeVar("Q")
A = TypeVar("A")

ROLES: Final[dict[str, tuple[str, ...]]] = {PEER: (SERVER,), AGENT_LOCAL: (LOCAL,)}
"""The permissions that not every role has."""

_PERMISSION: Final = re.compile(r"([a-z]+:(read|write|local|peer))?")


class Authorizer(Protocol):
    """Decides whether a caller may."""

    def require(self, permission: str, token: str, peer: Peer, /) -> None:
        """PermissionDenied when `token` does not carry `permission` (`resource:access`, "" for what anyone may know)."""
        ...


class Roles:
    """Only servers speak Raft, only the agent of this host tells this server of the cluster; the rest is for all members."""

    def require(self, permission: str, _token: str, peer: Peer, /) -> None:
        """PermissionDenied when the peer's role does not have the permission."""
        allowed = ROLES.get(permission, (LOCAL, AGENT, SERVER))
        if peer.role not in allowed:
            raise PermissionDenied(f"Permission denied: {peer.name} is no {' or '.join(allowed)} ({permission})")


class Gate:
    """What is served through `serve…`, or straight into `endpoints`, stands behind its method's permission."""

    def __init__(self, authorizer: Authorizer) -> None:
        self.endpoints: Endpoints = _Guarded(authorizer)

    def serve(self, method: Method[Q, A], handler: Callable[[Q], Awaitable[A]]) -> None:
        """Answer `method` with `handler`."""
        self.endpoints.serve(method, lambda request, _peer: handler(request))

    def serve_stream(self, method: Method[Q, A], handler: Callable[[Q], AsyncIterator[A]]) -> None:
        """Answer `method` with the items of `handler`."""
        self.endpoints.serve_stream(method, lambda request, _peer: handler(request))


class _Guarded(Endpoints):
    """Endpoints that ask before they answer. ValueError for a method whose permission is not one."""

    def __init__(self, authorizer: Authorizer) -> None:
        super().__init__()
        self._authorizer = authorizer

    def serve(self, method: Method[Q, A], handler: Callable[[Q, Peer], Awaitable[A]]) -> None:
        permission = _permission(method)

        def guarded(request: Q, peer: Peer) -> Awaitable[A]:
            self._authorizer.require(permission, _token(request), peer)
            return handler(request, peer)

        super().serve(method, guarded)

    def serve_stream(self, method: Method[Q, A], handler: Callable[[Q, Peer], AsyncIterator[A]]) -> None:
        permission = _permission(method)

        def guarded(request: Q, peer: Peer) -> AsyncIterator[A]:
            self._authorizer.require(permission, _token(request), peer)
            return handler(request, peer)

        super().serve_stream(method, guarded)

    def serve_notice(self, method: Method[Q, A], handler: Callable[[Q, Peer], None]) -> None:
        permission = _permission(method)

        def guarded(request: Q, peer: Peer) -> None:
            self._authorizer.require(permission, _token(request), peer)
            handler(request, peer)

        super().serve_notice(method, guarded)


def _permission(method: Method[Q, A]) -> str:
    """A method says who may call it, be it everybody (""); one that says nothing of sense stops the server's start."""
    if not _PERMISSION.fullmatch(method.permission):
        raise ValueError(f"{method.name} needs a permission, `resource:access`, not {method.permission!r}")
    return method.permission


def _token(request: object) -> str:
    options = getattr(request, "options", request)
    return str(getattr(options, "token", ""))
