"""What a new leader owes the cluster before all else: its name, its certificate authority, the config entries of its
configuration. Afterwards it watches how much of the root's life is left. A `duties.Duty`.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

import msgspec
import structlog

from chowk.connect.chain.validation import refuse_broken
from chowk.connect.entries import times
from chowk.connect.entries.check import check_entry, refuse
from chowk.core.commands import SetSystemMetadata, UpsertConfigEntry
from chowk.core.errors import ChowkError, InvalidRequest, NotYet
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.runtime.clock import Clock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.authority import CertificateAuthority
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from chowk.server.state.store import CLUSTER_ID

log = structlog.get_logger("chowk.leader")
WATCH_S: Final = 3600.0
UPGRADE_S: Final = 30.0
UNUSABLE: Final = "a config entry of the configuration is not usable"
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
        waiting = [entry for entry in map(self._readable, self._options.config_entries) if entry is not None]
        waiting = await self._write_entries(waiting)
        self.done.set()
        while waiting:
            await self._clock.sleep(UPGRADE_S)
            waiting = await self._write_entries(waiting)
        while True:
            self._tell_life()
            await self._clock.sleep(WATCH_S)

    async def _name_cluster(self) -> None:
        if not self._machine.store.cluster_id:
            await self._writes.propose(SetSystemMetadata(key=CLUSTER_ID, value=str(uuid.uuid4())))

    async def _write_entries(self, entries: list[AnyConfigEntry]) -> list[AnyConfigEntry]:
        """Entries of the configuration are written when there are none of their kind and name, as Consul does. Some stand
        only beside others (a router beside the protocol of its service), so those that do not yet are tried again. What
        comes back waits for the last server of an older release.
        """
        early: list[AnyConfigEntry] = []
        while entries:
            refused: list[tuple[AnyConfigEntry, InvalidRequest]] = []
            for entry in entries:
                try:
                    await self._write_entry(entry)
                except InvalidRequest as error:
                    refused.append((entry, error))
                except NotYet as error:
                    log.warning("a config entry of the configuration waits", entry=entry.name, error=str(error))
                    early.append(entry)
            if len(refused) == len(entries):
                for entry, why in refused:
                    log.error(UNUSABLE, kind=entry.kind, entry=entry.name, error=str(why))
                break
            entries = [entry for entry, _error in refused]
        return early

    async def _write_entry(self, entry: AnyConfigEntry) -> None:
        key = (entry.kind, entry.name)
        if key not in self._machine.store.entries:
            refuse_broken(self._machine.store.entries, {key: entry})
            await self._writes.propose(UpsertConfigEntry(entry=entry, cas=0))

    def _readable(self, tree: dict[str, Any]) -> AnyConfigEntry | None:
        """The entry, if it is right in itself. A fault that has ended may be in a file that is read at every start."""
        try:
            entry: AnyConfigEntry = msgspec.convert(tree, AnyConfigEntry)
            check_entry(entry)
            refuse(times.check_far(entry, self._clock.wall()))
        except (msgspec.ValidationError, ChowkError) as error:
            log.error(UNUSABLE, entry=tree.get("Name"), error=str(error))
            return None
        return entry

    def _tell_life(self) -> None:
        """Tell of the root's end in good time."""
        left = self._authority.life_left()
        if left < WARN_FRACTION:
            tell = log.error if left < CRITICAL_FRACTION else log.warning
            tell("the mesh's root certificate comes to its end", percent_of_life_left=round(100 * left, 1))
