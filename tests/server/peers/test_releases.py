"""Servers of several releases: each knows what the others run, and one that reads what it cannot apply stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chowk import __version__
from chowk.core.commands import COMMANDS_VERSION
from chowk.server.peers import inbox, link
from chowk.server.peers.messages import Runs
from support.peer_cluster import peer_rig, until


def test_every_server_knows_what_the_others_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with peer_rig(tmp_path) as rig:
            await rig.leader()
            for node in rig.nodes.values():
                await until(lambda node=node: len(node.consensus.releases()) == 2)
                others = {peer.node: (peer.release, peer.commands) for peer in node.consensus.releases()}
                assert others == dict.fromkeys({"a", "b", "c"} - {node.name}, (__version__, COMMANDS_VERSION))

    asyncio.run(scenario())


def test_a_server_that_does_not_say_knows_the_oldest_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "RUNS", Runs())
    monkeypatch.setattr(link, "RUNS", Runs())

    async def scenario() -> None:
        async with peer_rig(tmp_path) as rig:
            leader = await rig.leader()
            await until(lambda: len(leader.consensus.releases()) == 2)
            assert {peer.commands for peer in leader.consensus.releases()} == {1}

    asyncio.run(scenario())


def test_a_server_that_cannot_apply_an_entry_stops_before_it_and_the_others_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with peer_rig(tmp_path) as rig:
            leader = await rig.leader()
            old = rig.followers()[0]
            await until(lambda: len(leader.consensus.releases()) == 2)

            def refuse(index: int, entry: bytes) -> object:
                raise ValueError(f"entry {index} is of a newer release")

            before = await leader.consensus.propose(b"known", timeout_s=5)
            await until(lambda: old.consensus.applied_index >= leader.consensus.applied_index)
            old.machine.apply = refuse  # type: ignore[method-assign]
            applied = old.consensus.applied_index
            after = await leader.consensus.propose(b"newer", timeout_s=5)
            assert after > before  # type: ignore[operator]
            await until(lambda: old.failures)
            assert "is of a newer release" in str(old.failures[0])
            assert old.consensus.applied_index == applied
            assert await leader.consensus.propose(b"more", timeout_s=5)
            await old.stop()
            await old.start()
            await until(lambda: old.consensus.applied_index >= leader.consensus.applied_index)
            assert b"newer" in old.machine.entries.values()

    asyncio.run(scenario())
