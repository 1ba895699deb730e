"""The small port between the consensus engine and the rest of the server: any engine that fits here can take its place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from chowk.core.records.member import Member
from chowk.core.requests import RaftServer
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.endpoints import Endpoints

CHANGE_TIMEOUT_S: Final = 10.0


class PeerProgress(msgspec.Struct, frozen=True):
    """How far another server is, as its leader knows it: the last index that is durable there (of `last_index` of the
    leader's log), how many seconds ago it was last heard, and how often it had lost what it acknowledged."""

    match: int
    last_index: int
    last_contact_s: float
    relapses: int = 0


class PeerRelease(msgspec.Struct, frozen=True):
    """What another server runs: its release, and the newest COMMANDS_VERSION that it can apply."""

    node: str
    release: str
    commands: int


@dataclass(frozen=True, kw_only=True)
class PeerNetwork:
    """How consensus meets the other servers: `endpoints` are those that this server answers on its port (guard them by
    their method's permission), `dial` connects to another's `host:port`, `members` is what gossip knows."""

    endpoints: Endpoints
    dial: Callable[[str], Awaitable[RpcConnection]]
    members: Callable[[], tuple[Member, ...]]


class StateMachine(Protocol):
    """What committed entries are applied to, in order, exactly once each, on the event loop's thread."""

    def apply(self, index: int, entry: bytes) -> object:
        """Apply one entry and return its result for the proposer. Total but for one case: ValueError for an entry that a
        newer release wrote. The caller must stop then, before this entry: to pass over it is to differ from the others."""
        ...

    def snapshot(self) -> Callable[[], Iterable[bytes]]:
        """Freeze the state now, cheaply; the returned function yields its bytes in chunks and may run in a thread."""
        ...

    def thaw(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Read a snapshot, in a thread: nothing changes yet. The function returned replaces the state by it, quickly, on
        the loop's thread. ValueError when it is not a snapshot."""
        ...


class Consensus(Protocol):
    """A replicated log."""

    def join(self, network: PeerNetwork) -> None:
        """Use this way to the other servers. Called once, before `start`; a cluster of one without a port needs none."""
        ...

    async def start(self) -> None:
        """Recover from disk and take part. `server.storage.errors.StorageError` says what is wrong with the disk."""
        ...

    async def hand_over(self) -> None:
        """About to stop: a leader lets another lead, if one can within a short while. Call it while others can reach
        this server still. Never raises."""
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
    def has_lease(self) -> bool:
        """Whether nobody else can lead at this very moment, and everything committed is applied here: what is read now is
        not stale. False is no harm: a read barrier answers then."""
        ...

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

    @property
    def cluster(self) -> str:
        """What names the cluster, the same on all its servers; "" while this server is in none."""
        ...

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        """The membership and the index it was committed at."""
        ...

    # Membership: on the leader, NoLeader elsewhere. Each returns when the change is committed. InvalidRequest says what
    # cannot be done, or not now (another change is under way); OutcomeUnknown: perhaps.

    async def add_learner(self, id: str, address: str, node: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Add a server that gets the log but does not vote; or give a member (a voter too) another address or name."""
        ...

    async def promote(self, id: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Let a learner vote."""
        ...

    async def remove(self, id: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Remove a member; the leader may remove itself, and leads no more."""
        ...

    async def transfer(self, target: str = "", *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Let another voter lead, "" for the one that is furthest; returns when this server leads no more."""
        ...

    def progress(self) -> dict[str, PeerProgress]:
        """How far each other member is, by id. Empty where this server does not lead."""
        ...

    def releases(self) -> tuple[PeerRelease, ...]:
        """What the other members run, as far as they said since this server started."""
        ...

    def stats(self) -> dict[str, str]:
        """Counters of the engine, as Consul's `info` names them where it has them (`state`, `term`, `commit_index`, …)."""
        ...

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        """Call back with True when this server begins to lead (after its own term's first commit), False when it ends."""
        ...
