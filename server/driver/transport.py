"""The way to the other servers, as consensus sees it. Used by `server.driver.engine`, implemented by `server.peers`."""

from __future__ import annotations

from typing import Protocol

from chowk.server.raft.messages import InstallSnapshot, Message
from chowk.server.raft.records import Configuration
from chowk.server.storage.transfers import SnapshotSource


class Transport(Protocol):
    """The way to the other servers; a cluster of one needs none. What comes in is handed to `Engine.receive`."""

    def update(self, configuration: Configuration) -> None:
        """The members changed: where they are is in here."""
        ...

    def send(self, message: Message) -> None:
        """Send with the next `flush`, or drop: Raft does not mind."""
        ...

    def flush(self) -> None:
        """All that is to be said at this moment was said."""
        ...

    async def send_snapshot(self, message: InstallSnapshot, source: SnapshotSource, /) -> bool:
        """Send a snapshot with its bytes. Whether they arrived and the other server has that state now."""
        ...


class NoTransport:
    """Of a cluster of one."""

    def update(self, configuration: Configuration) -> None:
        """There is nobody."""

    def send(self, message: Message) -> None:
        """There is nobody."""

    def flush(self) -> None:
        """There is nobody."""

    async def send_snapshot(self, _message: InstallSnapshot, _source: SnapshotSource, /) -> bool:
        """There is nobody."""
        return False
