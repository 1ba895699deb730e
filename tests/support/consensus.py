"""A stand-in for consensus: a cluster of one that leads at once and applies in memory, optionally with a synced file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from chowk.core.errors import InvalidRequest, NoLeader
from chowk.core.requests import RaftServer
from chowk.server.port import PeerNetwork, PeerProgress, PeerRelease, StateMachine


class SoloConsensus:
    """Implements server.port.Consensus."""

    def __init__(self, machine: StateMachine, path: Path | None = None, address: str = "127.0.0.1:8300") -> None:
        self._machine = machine
        self._path = path
        self._file = None
        self._address = address
        self._callbacks: list[Callable[[bool], None]] = []
        self.leading = False
        self.leased = True
        self.applied_index = 0
        self.barriers = 0
        self.others: tuple[PeerRelease, ...] = ()

    def join(self, network: PeerNetwork) -> None:
        """Nobody else is there."""

    async def hand_over(self) -> None:
        """There is nobody to hand over to."""

    async def start(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            data = self._path.read_bytes() if self._path.exists() else b""
            position = 0
            while position + 4 <= len(data):
                end = position + 4 + int.from_bytes(data[position : position + 4], "big")
                if end > len(data):
                    break
                self._apply(data[position + 4 : end])
                position = end
            self._file = self._path.open("ab")
            self._file.truncate(position)
        self.lead(True)

    def lead(self, leading: bool) -> None:
        self.leading = leading
        for callback in self._callbacks:
            callback(leading)

    async def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    def _apply(self, entry: bytes) -> object:
        self.applied_index += 1
        return self._machine.apply(self.applied_index, entry)

    async def propose(self, entry: bytes, *, timeout_s: float) -> object:
        if not self.leading:
            raise NoLeader
        await asyncio.sleep(0)
        if self._file is not None:
            self._file.write(len(entry).to_bytes(4, "big") + entry)
            self._file.flush()
            os.fdatasync(self._file.fileno())
        return self._apply(entry)

    async def read_barrier(self, *, timeout_s: float) -> None:
        self.barriers += 1
        if not self.leading:
            raise NoLeader

    @property
    def is_leader(self) -> bool:
        return self.leading

    @property
    def has_lease(self) -> bool:
        return self.leading and self.leased

    @property
    def leader(self) -> str:
        return self._address if self.leading else ""

    @property
    def last_contact_s(self) -> float:
        return 0.0

    @property
    def cluster(self) -> str:
        return "solo"

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        return 1, (RaftServer(id="solo", node="solo", address=self._address, leader=self.leading, voter=True),)

    async def add_learner(self, id: str, address: str, node: str, *, timeout_s: float = 10.0) -> None:
        raise InvalidRequest("this is a cluster of one")

    async def promote(self, id: str, *, timeout_s: float = 10.0) -> None:
        raise InvalidRequest("this is a cluster of one")

    async def remove(self, id: str, *, timeout_s: float = 10.0) -> None:
        raise InvalidRequest("this is a cluster of one")

    async def transfer(self, target: str = "", *, timeout_s: float = 10.0) -> None:
        raise InvalidRequest("there is no other server to transfer the leadership to")

    def progress(self) -> dict[str, PeerProgress]:
        return {}

    def releases(self) -> tuple[PeerRelease, ...]:
        return self.others

    def stats(self) -> dict[str, str]:
        return {"state": "Leader", "applied_index": str(self.applied_index)}

    def on_leadership(self, callback: Callable[[bool], None]) -> None:
        self._callbacks.append(callback)
