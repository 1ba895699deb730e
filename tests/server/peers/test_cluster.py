"""Three servers over real TCP and real files: they found a cluster, lose servers, catch up, change members."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chowk.core.errors import InvalidRequest, NoLeader, OutcomeUnknown
from chowk.core.server_options import RaftTuning
from chowk.server.storage.errors import StorageError
from chowk.server.storage.filesystem import Disk, DiskFile
from support.peer_cluster import PeerRig, peer_rig, until

SMALL = RaftTuning(snapshot_threshold=30, snapshot_interval_s=0.0, trailing_logs=5)


def run(folder: Path, scene: Callable[[PeerRig], Awaitable[None]], names: str = "abc", **options: object) -> None:
    async def within() -> None:
        async with asyncio.timeout(40), peer_rig(folder, names, **options) as rig:
            await scene(rig)

    asyncio.run(within())


async def write(rig: PeerRig, entry: bytes) -> int:
    """Until a leader takes it; as a client that tries again would."""
    async with asyncio.timeout(15):
        while True:
            leader = await rig.leader()
            try:
                return await leader.consensus.propose(entry, timeout_s=5)
            except (NoLeader, OutcomeUnknown):
                await asyncio.sleep(0.01)


async def same(rig: PeerRig, index: int) -> None:
    nodes = [node for node in rig.nodes.values() if node.is_up]
    await until(lambda: all(node.consensus.applied_index >= index for node in nodes))
    assert all(node.machine.entries == nodes[0].machine.entries for node in nodes)


def test_three_blank_servers_found_one_cluster_and_survive_the_leader(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        first = await rig.leader()
        await same(rig, await write(rig, b"one"))
        cluster = first.consensus._engine.core.configuration.cluster
        assert len(cluster) == 32
        await first.stop()
        await write(rig, b"two")
        second = await rig.leader()
        assert second is not first
        await first.start()
        await same(rig, await write(rig, b"three"))
        assert sorted(first.machine.entries.values()) == [b"one", b"three", b"two"]
        assert {node.consensus._engine.core.configuration.cluster for node in rig.nodes.values()} == {cluster}
        for follower in rig.followers():
            await follower.consensus.read_barrier(timeout_s=5)

    run(tmp_path, scene)


def test_all_restart_at_once_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        last = max(await asyncio.gather(*(write(rig, b"%d" % n) for n in range(50))))
        for node in rig.nodes.values():
            await node.stop()
        for node in rig.nodes.values():
            await node.start()
        await same(rig, last)
        assert len(next(iter(rig.nodes.values())).machine.entries) == 50

    run(tmp_path, scene)


def test_a_leader_that_is_to_stop_hands_over_and_is_followed_within_a_heartbeat_or_so(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        first = await rig.leader()
        await write(rig, b"one")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await first.consensus.hand_over()
        assert not first.consensus.is_leader
        assert await rig.leader() is not first
        assert loop.time() - begun < 0.25, "an election timeout passed: nothing was handed over"

    run(tmp_path, scene)


def test_a_server_is_added_promoted_and_removed_and_the_leader_can_remove_itself(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        await write(rig, b"one")
        fourth = rig.add("d", 3)
        await fourth.start()
        leader = await rig.leader()
        await leader.consensus.add_learner("d", fourth.address, "d")
        with pytest.raises(InvalidRequest, match="has the address"):
            await leader.consensus.add_learner("e", fourth.address, "e")
        await same(rig, await write(rig, b"two"))
        await until(lambda: leader.consensus.progress()["d"].match == leader.consensus.progress()["d"].last_index)
        await leader.consensus.promote("d")
        assert [server.voter for server in fourth.consensus.configuration()[1]].count(True) >= 3
        await leader.consensus.remove(leader.name)
        await until(lambda: not leader.consensus.is_leader)
        await leader.stop()
        index = await write(rig, b"three")
        await same(rig, index)
        assert {server.id for server in (await rig.leader()).consensus.configuration()[1]} == set("abcd") - {
            leader.name
        }
        with pytest.raises(InvalidRequest, match="no server with the id"):
            await (await rig.leader()).consensus.remove("x")
        with pytest.raises(NoLeader):
            await rig.followers()[0].consensus.remove("a")

    run(tmp_path, scene)


def test_who_was_away_catches_up_from_the_log_or_from_a_snapshot(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        await rig.leader()
        behind = rig.followers()[0]
        await behind.stop()
        for round in range(4):
            await asyncio.gather(*(write(rig, b"%d-%d" % (round, n)) for n in range(25)))
        await behind.start()
        index = await write(rig, b"last")
        await same(rig, index)
        assert int(behind.consensus.stats()["snapshots_received"]) == 1
        await behind.stop()
        await behind.start()
        await same(rig, index)

    run(tmp_path, scene, tuning=SMALL)


def test_a_snapshot_whose_connection_is_lost_at_every_chunk_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        leader = await rig.leader()
        behind = rig.followers()[0]
        await behind.stop()
        for n in range(6):
            await write(rig, b"%d" % n * 1_000_000)
        for n in range(40):
            await write(rig, b"%d" % n)
        await until(lambda: int(leader.consensus.stats()["last_snapshot_index"]) > 8)
        offsets: list[int] = []
        serve_chunks(behind, offsets)
        index = await write(rig, b"last")
        await behind.start()
        serve_chunks(behind, offsets)
        await same(rig, index)
        pieces = [offset for offset in offsets if offset >= 0]
        assert len(pieces) >= 6
        assert len(set(pieces)) == len(pieces), "a chunk came twice"
        assert not list(behind.folder.rglob("*.tmp"))

    run(tmp_path, scene, tuning=SMALL)


def serve_chunks(node, offsets: list[int]) -> None:
    """Take every chunk, then lose the connection instead of answering (but for the last)."""
    if "Raft.Snapshot" not in node.endpoints.calls or not node.is_up:
        return
    method, handler = node.endpoints.calls["Raft.Snapshot"]

    async def losing(request, peer):
        reply = await handler(request, peer)
        if request.data:
            offsets.append(request.offset)
            if not reply.done:
                for connection in list(node.listener.connections):
                    connection.abort()
        return reply

    node.endpoints.calls["Raft.Snapshot"] = (method, losing)


class FullFile(DiskFile):
    disk: FullDisk

    def write(self, data: bytes) -> None:
        self.disk.step()
        super().write(data)

    def sync(self) -> None:
        self.disk.step()
        super().sync()


class FullDisk(Disk):
    """Full after so many writes and syncs."""

    def __init__(self) -> None:
        self.left = 1 << 60

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def create(self, path: Path) -> FullFile:
        file = FullFile(path, 0o100 | 0o1000)
        file.disk = self
        return file

    def append(self, path: Path) -> FullFile:
        file = FullFile(path, 0)
        file.disk = self
        return file


def test_a_disk_that_is_full_at_any_write_stops_its_server_alone_and_loses_nothing(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        written = [await write(rig, b"first")]
        for left in range(8):
            leader = await rig.leader()
            victim = leader if left % 2 else rig.followers()[0]
            victim.files.left = left
            for n in range(4):
                written.append(await write(rig, b"%d-%d" % (left, n)))
            await until(lambda victim=victim: victim.failures)
            assert "the disk is full" in str(victim.failures[0])
            await victim.stop()
            victim.files.left = 1 << 60
            victim.failures.clear()
            await victim.start()
        last = await write(rig, b"last")
        await same(rig, last)
        assert {*written, last} <= set((await rig.leader()).machine.entries)

    async def within() -> None:
        async with asyncio.timeout(60), peer_rig(tmp_path, "") as rig:
            for name in "abc":
                rig.add(name, 3, FullDisk())
            for node in rig.nodes.values():
                await node.start()
            await scene(rig)

    asyncio.run(within())


def test_a_lost_majority_is_recovered_by_peers_json_and_the_dead_do_not_come_back(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        await same(rig, await write(rig, b"kept"))
        a, b, c = rig.nodes.values()
        for node in (a, b, c):
            await node.stop()
        note = a.folder / "peers.json"
        note.write_text('[{"id": "a"}]')
        with pytest.raises(StorageError, match="Nothing was changed"):
            await a.start()
        await a.stop()
        note.write_text(f'[{{"id": "a", "address": "{a.address}"}}]')
        await a.start()
        await rig.leader()
        assert await a.consensus.propose(b"alone", timeout_s=5)
        assert list(a.machine.entries.values()) == [b"kept", b"alone"]
        assert next(path.name for path in a.folder.glob("peers.json*")).startswith("peers.json.applied-")
        await b.start()
        await until(lambda: "refused_cluster" in a.consensus.stats() or "refused_cluster" in b.consensus.stats())
        assert list(b.machine.entries.values()) in ([], [b"kept"])
        await a.stop()
        await a.start()
        await rig.leader()
        assert list(a.machine.entries.values()) == [b"kept", b"alone"]
        assert len(a.consensus.configuration()[1]) == 1

    run(tmp_path, scene)
