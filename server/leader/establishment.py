"""What a new leader owes the cluster before all else: its name, its certificate authority, the config entries of its
configuration. Afterwards it watches how much of the root's life is left. A `duties.Duty`.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

import msgspec
import structlog

from chowk.connect.entries.check import check_entry
from chowk.core.commands import SetSystemMetadata, UpsertConfigEntry
from chowk.core.errors import ChowkError
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.authority import CertificateAuthority
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from chowk.server.state.store import CLUSTER_ID

log = structlog.get_logger("chowk.leader")
WATCH_S: Final = 3600.0
WARN_FRACTION: Final = 0.25
CRITICAL_FRACTION: Final = 0.10


class Establishment:
    """`done` is set while everything is there that a new leader owes."""

    name = "establishment"

    def __init__(
        self,
        options: ServerOptions,
        machine: StoreMachine,
        writes: Writes,
        authority: CertificateAuthority,
        clock: Clock,
    ) -> None:
        self._options = options
        self._machine = machine
        self._writes = writes
        self._authority = authority
        self._clock = clock
        self.done = asyncio.Event()

    async def run(self) -> None:
        """See duties.Duty."""
        await self._name_cluster()
        await self._authority.establish()
        await self._write_entries()
        self.done.set()
        while True:
            self._tell_life()
            await self._clock.sleep(WATCH_S)

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

    def _tell_life(self) -> None:
        """Tell of the root's end in good time."""
        left = self._authority.life_left()
        if left < WARN_FRACTION:
            tell = log.error if left < CRITICAL_FRACTION else log.warning
            tell("the mesh's root certificate comes to its end", percent_of_life_left=round(100 * left, 1))
