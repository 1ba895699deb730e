"""What a server does while it leads: names the cluster once, is its CA, writes the config entries it was started with.

A duty that fails is tried again with growing pauses until it is done or the server leads no more. Made by `server.server`.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.connect.intentions.entries import check_entry
from chowk.core.commands import SetSystemMetadata, UpsertConfigEntry
from chowk.core.errors import ChowkError
from chowk.core.events import HEALTH, NODES, Topic
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner
from chowk.core.server_options import ServerOptions
from chowk.server.leader.authority import CertificateAuthority
from chowk.server.leader.keystore import DiskKeys, MemoryKeys
from chowk.server.leader.membership import SERVICE, missing_member
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from chowk.server.state.store import CLUSTER_ID

log = structlog.get_logger("chowk.leader")
RETRY_S_FIRST: Final = 0.1
RETRY_S_MAX: Final = 10.0
WATCH_S: Final = 3600.0
WARN_FRACTION: Final = 0.25
CRITICAL_FRACTION: Final = 0.10
MEMBERS: Final = frozenset({Topic(kind=NODES), Topic(kind=HEALTH, key=SERVICE)})


class LeaderDuties:
    """`led` is called when leadership begins and ends; `close` ends all. `authority` signs while this server leads."""

    def __init__(self, options: ServerOptions, machine: StoreMachine, writes: Writes, clock: Clock) -> None:
        self._options = options
        self._machine = machine
        self._writes = writes
        self._clock = clock
        self._tasks = TaskOwner("leader")
        self._term: list[asyncio.Task[None]] = []
        self._nodes_changed = asyncio.Event()
        keys = DiskKeys(Path(options.data_dir) / "server" / "ca") if options.data_dir else MemoryKeys()
        self.authority = CertificateAuthority(options, machine, writes, keys, clock)
        self.done = asyncio.Event()
        """Set while everything that a new leader owes is done."""

    async def close(self) -> None:
        """End every duty."""
        self.authority.resign()
        await self._tasks.close()

    def led(self, leading: bool) -> None:
        """This server begins to lead, or leads no more."""
        for task in self._term:
            task.cancel()
        self._term = []
        self.done.clear()
        self.authority.resign()
        if leading:
            self._term = [self._tasks.spawn(self._lead(), "term"), self._tasks.spawn(self._keep_members(), "members")]

    async def _lead(self) -> None:
        pause_s = RETRY_S_FIRST
        while True:
            try:
                await self._name_cluster()
                await self.authority.establish()
                await self._write_entries()
            except (ChowkError, OSError) as error:
                log.error("a duty of the leader failed; trying again", error=str(error), in_s=pause_s)
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                break
        self.done.set()
        await self._watch()

    async def _name_cluster(self) -> None:
        if not self._machine.store.cluster_id:
            await self._writes.propose(SetSystemMetadata(key=CLUSTER_ID, value=str(uuid.uuid4())))

    async def _write_entries(self) -> None:
        """Entries of the configuration are written when there are none of their kind and name, as Consul does."""
        for tree in self._options.config_entries:
            try:
                entry: AnyConfigEntry = msgspec.convert(tree, AnyConfigEntry)
                check_entry(entry)
            except (msgspec.ValidationError, ChowkError) as error:
                log.error("a config entry of the configuration is not usable", entry=tree.get("Name"), error=str(error))
                continue
            if (entry.kind, entry.name) not in self._machine.store.entries:
                await self._writes.propose(UpsertConfigEntry(entry=entry, cas=0))

    def committed(self, topics: frozenset[Topic]) -> None:
        """The store changed: hear of it when it is about members, so that the catalog's account of members stays whole."""
        if topics & MEMBERS:
            self._nodes_changed.set()

    async def _keep_members(self) -> None:
        while True:
            self._nodes_changed.clear()
            missing = missing_member(self._machine.store, self._options)
            try:
                if missing is not None:
                    await self._writes.propose(missing)
            except ChowkError as error:
                log.warning("a member is not in the catalog yet; trying again", error=str(error))
                await self._clock.sleep(RETRY_S_FIRST)
                continue
            await self._nodes_changed.wait()

    async def _watch(self) -> None:
        """Tell of the root's end in good time."""
        while True:
            left = self.authority.life_left()
            if left < WARN_FRACTION:
                tell = log.error if left < CRITICAL_FRACTION else log.warning
                tell("the mesh's root certificate comes to its end", percent_of_life_left=round(100 * left, 1))
            await self._clock.sleep(WATCH_S)
