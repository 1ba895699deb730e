"""The way to the other servers, as consensus sees it. Used by `server.consensus`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from chowk.server.raft.messages import InstallSnapshot, Message


class Transport(Protocol):
    """The way to the other servers; a cluster of one needs none. What comes in is handed to `RaftConsensus.receive`."""

    def send(self, message: Message) -> None:
        """Send, or drop: Raft does not mind."""
        ...

    def send_snapshot(
        self, message: InstallSnapshot, chunks: Iterable[bytes], ended: Callable[[bool], None], /
    ) -> None:
        """Send a snapshot with its bytes, and say on the loop whether they arrived."""
        ...


class NoTransport:
    """Of a cluster of one."""

    def send(self, message: Message) -> None:
        """There is nobody."""

    def send_snapshot(
        self, _message: InstallSnapshot, _chunks: Iterable[bytes], ended: Callable[[bool], None], /
    ) -> None:
        """There is nobody."""
        ended(False)
