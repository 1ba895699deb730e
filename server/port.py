"""The small port between the consensus engine and the rest of the server: any engine that fits here can take its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from chowk.core.requests import RaftServer


class StateMachine(Protocol):
    """What committed entries are applied to, in order, exactly once each, on the event loop's thread."""

    def apply(self, index: int, entry: bytes) -> object:
        """Apply one entry and return its result for the proposer. Never raises: `apply` is total."""
        ...

    def snapshot(self) -> Callable[[], Iterable[bytes]]:
        """Freeze the state now, cheaply; the returned function yields its bytes in chunks and may run in a thread."""
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by a snapshot's. ValueError when it is not one."""
        ...


class Consensus(Protocol):
    """A replicated log."""

    async def start(self) -> None:
        """Recover from disk and take part. `server.storage.errors.StorageError` says what is wrong with the disk."""
        ...

    async def stop(self) -> None:
        """Write what is pending and let go of the disk."""
        ...

    async def propose(self, entry: bytes, *, timeout_s: float) -> object:
        """Replicate an entry; its apply's result. NoLeader: not written; OutcomeUnknown: perhaps; TooManyRequests: no."""
        ...

    async def read_barrier(self, *, timeout_s: float) -> None:
        """Return when everything acknowledged before the call is applied here (a read index). NoLeader otherwise."""
        ...

    @property
    def is_leader(self) -> bool: ...

    @property
    def leader(self) -> str:
        """The leader's address, "" when unknown."""
        ...

    @property
    def applied_index(self) -> int: ...

    @property
    def last_contact_s(self) -> float:
        """Seconds since the leader was heard; 0 on the leader."""
        ...

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        """The membership and the index it was committed at."""
        ...

    def stats(self) -> dict[str, str]:
        """Counters of the engine, as Consul's `info` names them where it has them (`state`, `term`, `commit_index`, …)."""
        ...

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call back with True when this server begins to lead (after its own term's first commit), False when it ends."""
        ...
