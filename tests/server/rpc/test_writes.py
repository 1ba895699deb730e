"""What is proposed: only what every server can read and apply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from chowk.core.commands import (
    COMMANDS_VERSION,
    DestroySession,
    FinishRestore,
    PutKey,
    Register,
    StageRestore,
    UpsertConfigEntry,
)
from chowk.core.errors import InvalidRequest, NotYet
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.node import Node
from chowk.core.runtime.clock import ManualClock
from chowk.server.port import PeerRelease
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from support.consensus import SoloConsensus

OLD = PeerRelease("server2", "0.0.9", 1)
SAME = PeerRelease("server3", "0.1.0", COMMANDS_VERSION)
NEWER = PeerRelease("server3", "0.2.0", COMMANDS_VERSION + 1)


class Proposed:
    def __init__(self, *others: PeerRelease) -> None:
        self.machine = StoreMachine()
        self.consensus = SoloConsensus(self.machine)
        self.consensus.leading = True
        self.consensus.others = others
        self.writes = Writes(self.consensus, ManualClock())

    def run(self, command: Any) -> Any:
        async def act() -> Any:
            made: Awaitable[Any] = self.writes.propose(command)
            return await made

        return asyncio.run(act())


def test_what_an_older_server_does_not_know_is_refused_by_its_name() -> None:
    proposed = Proposed(SAME, OLD)
    for command in (DestroySession(id="s"), PutKey(key=b"k", acquire="s"), PutKey(key=b"k", release="s")):
        with pytest.raises(NotYet, match=r"server2 runs chowk 0\.0\.9, which does not know .* finish the upgrade"):
            proposed.run(command)
    assert proposed.consensus.applied_index == 0


def test_what_every_server_knows_goes_on_during_an_upgrade() -> None:
    proposed = Proposed(OLD, NEWER)
    assert proposed.run(PutKey(key=b"k", value=b"v")).ok
    assert proposed.run(Register(node=Node(node="n", address="127.0.0.1"))).ok
    assert proposed.run(FinishRestore(id="r", abandon=True)).ok
    assert proposed.machine.store.commands == 1


def test_what_is_new_is_written_when_all_servers_know_it() -> None:
    proposed = Proposed(SAME, NEWER)
    assert proposed.run(DestroySession(id="s")).ok
    assert proposed.machine.store.commands == 2


@pytest.mark.parametrize("other", [OLD, NEWER])
def test_no_snapshot_is_restored_while_servers_run_different_releases(other: PeerRelease) -> None:
    for command in (StageRestore(id="r", number=0, data=b""), FinishRestore(id="r", chunks=1)):
        with pytest.raises(NotYet, match="finish the upgrade"):
            Proposed(other).run(command)


def test_what_nests_too_deep_for_some_server_to_read_is_refused_before_it_is_written() -> None:
    def entry(levels: int) -> UpsertConfigEntry:
        config: Any = "x" * 600
        for _ in range(levels):
            config = {"a": config}
        return UpsertConfigEntry(entry=ServiceDefaults(name="web", upstream_config={"deep": config}))

    proposed = Proposed()
    assert proposed.run(entry(100)).ok
    for levels in (140, 5000):
        with pytest.raises(InvalidRequest, match="may nest"):
            proposed.run(entry(levels))
