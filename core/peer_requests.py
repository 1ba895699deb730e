"""The RPCs between servers. Nobody else may call them: their permission asks for a certificate of a server."""

from __future__ import annotations

from typing import Final

from chowk.core.requests import Empty, Message, Method

PEER: Final = "raft:peer"
"""The permission that only another server has."""


class Forwarded(Message, frozen=True, kw_only=True):
    """A call for the leader: the name of its method, its request as msgpack. It is not forwarded again."""

    method: str
    body: bytes


class ForwardedReply(Message, frozen=True, kw_only=True):
    """The reply as msgpack."""

    body: bytes


class CAKey(Message, frozen=True, kw_only=True):
    """The private key (PEM) of a root, by the root's id; None: this server does not have it."""

    root_id: str
    pem: bytes | None = None

    def __repr__(self) -> str:
        return f"CAKey({self.root_id})"


class CAKeyQuery(Message, frozen=True, kw_only=True):
    """Asks for the key of a root."""

    root_id: str


FORWARD = Method("Server.Forward", Forwarded, ForwardedReply, PEER)
CA_KEY_SAVE = Method("Server.SaveCAKey", CAKey, Empty, PEER)
CA_KEY_LOAD = Method("Server.LoadCAKey", CAKeyQuery, CAKey, PEER)
