"""Who is not heard: another cluster, a server whose data is gone, a copy, a liar, a stranger's garbage; each is told why."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from chowk.core.errors import ChowkError, InvalidRequest, PermissionDenied
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.rpc.endpoints import AGENT, LOCAL, Peer
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.tcp import dial_tcp
from chowk.server.peers.messages import (
    RAFT_MESSAGES,
    RAFT_SNAPSHOT,
    RAFT_STATUS,
    Ballot,
    Chunk,
    ChunkReply,
    Envelope,
    FoundRequest,
    Origin,
    StatusRequest,
)
from chowk.server.raft.messages import InstallSnapshot, PreVoteRequest
from chowk.server.raft.records import Configuration, SnapshotMeta
from chowk.server.raft.records import Member as RaftMember
from support.peer_cluster import Node, PeerRig, peer_rig, until


def run(folder: Path, scene: Callable[[PeerRig], Awaitable[None]], names: str = "abc") -> None:
    async def within() -> None:
        async with asyncio.timeout(40), peer_rig(folder, names) as rig:
            await scene(rig)

    asyncio.run(within())


def refused(node: Node, reason: str) -> int:
    return int(node.consensus.stats().get(f"refused_{reason}", "0"))


def cluster(node: Node) -> str:
    return node.consensus._engine.core.configuration.cluster


def pre_vote(sender: str, target: str, **fields: int) -> PreVoteRequest:
    known = {"term": 99, "last_index": 2**40, "last_term": 98}
    return PreVoteRequest(sender=sender, target=target, **{**known, **fields})


def envelope(origin: Origin, *messages: object, voter: bool = False) -> Envelope:
    raw = tuple(msgspec.Raw(msgspec.msgpack.encode(message)) for message in messages)
    return Envelope(origin=origin, voter=voter, messages=raw)


def origin_of(node: Node, **fields: str) -> Origin:
    known = {"id": node.name, "node": node.name, "address": node.address, "cluster": cluster(node)}
    return Origin(**{**known, **fields})


def test_two_clusters_joined_by_mistake_do_not_mix_and_both_say_what_to_do(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        await rig.leader()
        async with peer_rig(tmp_path / "other", "xyz") as other:
            stranger = await other.leader()
            native = rig.nodes["a"]
            connection = await dial_tcp(native.address, None)
            reply = await connection.call(
                RAFT_STATUS, StatusRequest(origin=origin_of(stranger), target="a"), timeout_s=5
            )
            assert "two clusters were joined by mistake" in reply.refusal
            before = native.consensus.stats()["term"]
            assert connection.notify(RAFT_MESSAGES, envelope(origin_of(stranger), pre_vote(stranger.name, "a")))
            await until(lambda: refused(native, "cluster") >= 2)
            assert native.consensus.stats()["term"] == before
            leader = await rig.leader()
            await leader.consensus.add_learner(stranger.name, stranger.address, stranger.name)
            await until(lambda: refused(stranger, "cluster"))
            assert await leader.consensus.propose(b"still here", timeout_s=5)
            assert not stranger.machine.entries
            await connection.close()

    run(tmp_path, scene)


def test_a_voter_whose_data_is_gone_is_not_let_in_again_under_its_old_id(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        leader = await rig.leader()
        lost = rig.followers()[0]
        await lost.stop()
        shutil.rmtree(lost.folder)
        await lost.start()
        await until(lambda: refused(lost, "lost"))
        assert lost.consensus._engine.is_blank
        await leader.consensus.remove(lost.name)
        await leader.consensus.add_learner(lost.name, lost.address, lost.name)
        index = await leader.consensus.propose(b"x", timeout_s=5)
        await until(lambda: lost.consensus.applied_index >= index)

    run(tmp_path, scene)


def test_a_copy_of_a_servers_data_is_refused_and_the_original_is_not_disturbed(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        leader = await rig.leader()
        original = rig.followers()[0]
        await original.stop()
        copy = Node(rig, original.name, 3, None)
        copy.folder = tmp_path / "copy"
        shutil.copytree(original.folder, copy.folder)
        await original.start()
        await copy.start()
        rig.nodes["copy"] = copy
        await until(lambda: refused(leader, "double"))
        term = leader.consensus.stats()["term"]
        index = await leader.consensus.propose(b"x", timeout_s=5)
        await until(lambda: original.consensus.applied_index >= index)
        assert leader.consensus.stats()["term"] == term
        assert copy.consensus.applied_index < index

    run(tmp_path, scene)


def test_servers_that_all_get_new_addresses_find_each_other_through_gossip(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        leader = await rig.leader()
        await leader.consensus.propose(b"x", timeout_s=5)
        old = {node.port for node in rig.nodes.values()}
        for node in rig.nodes.values():
            await node.stop()
        for node in rig.nodes.values():
            node.port = 0
            await node.start()
        assert {node.port for node in rig.nodes.values()}.isdisjoint(old)
        assert await (await rig.leader()).consensus.propose(b"y", timeout_s=5)

    run(tmp_path, scene)


def test_different_expectations_found_nothing_and_name_both_servers(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        for name, expect in (("a", 2), ("b", 3), ("c", 3)):
            await rig.add(name, expect).start()
        told = [node.consensus._peers._formation for node in rig.nodes.values()]
        await until(lambda: all("give all servers the same" in formation._told for formation in told))
        assert all(node.consensus._engine.is_blank for node in rig.nodes.values())
        await rig.nodes["a"].stop()
        rig.nodes["a"].expect = 3
        await rig.nodes["a"].start()
        assert await (await rig.leader()).consensus.propose(b"x", timeout_s=5)

    run(tmp_path, scene, "")


def test_a_server_without_an_expectation_waits_to_be_added(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        leader = await rig.leader()
        late = rig.add("d", 0)
        await late.start()
        await until(lambda: "waits for its leader to add it" in late.consensus._peers._formation._told)
        await leader.consensus.add_learner("d", late.address, "d")
        index = await leader.consensus.propose(b"x", timeout_s=5)
        await until(lambda: late.consensus.applied_index >= index)
        assert cluster(late) == cluster(leader)

    run(tmp_path, scene)


def test_garbage_from_a_server_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        leader = await rig.leader()
        target, liar = rig.followers()
        connection = await dial_tcp(target.address, None)
        origin = origin_of(liar)
        before = target.consensus.stats()["term"]
        unknown = msgspec.Raw(msgspec.msgpack.encode({"type": "FromTheFuture", "sender": liar.name}))
        for bad in (
            envelope(origin, pre_vote(leader.name, target.name)),
            envelope(origin, pre_vote(liar.name, "nobody")),
            envelope(origin, pre_vote(liar.name, target.name, term=0)),
            envelope(origin, pre_vote(liar.name, target.name, last_term=2**63)),
            Envelope(origin=origin, voter=False, messages=(unknown, msgspec.Raw(b"\x01"))),
            envelope(origin_of(liar, id=target.name), pre_vote(target.name, target.name)),
            envelope(origin_of(liar, address="127.0.0.1:1"), pre_vote(liar.name, target.name)),
        ):
            assert connection.notify(RAFT_MESSAGES, bad)
        await until(lambda: refused(target, "message") >= 4 and refused(target, "double") >= 2)
        assert target.consensus.stats()["messages_unknown"] == "2"
        meta = SnapshotMeta(10**9, 1, Configuration((RaftMember(liar.name, liar.address),)), 1)
        install = InstallSnapshot(sender=liar.name, target=target.name, term=2**40, meta=meta, round=1)
        chunk = Chunk(origin=origin, voter=True, message=install, transfer="t", size=5, offset=0, checksum=0, data=b"")
        for data, checksum in ((b"", 0), (b"12345", 1), (b"12345", 0xCBF53A1C)):
            piece = msgspec.structs.replace(chunk, data=data, checksum=checksum)
            outcome = (
                await asyncio.gather(connection.call(RAFT_SNAPSHOT, piece, timeout_s=5), return_exceptions=True)
            )[0]
            assert isinstance(outcome, InvalidRequest if checksum > 1 else ChunkReply), outcome
        assert target.consensus.stats()["term"] == before
        assert not list(target.folder.rglob("*.tmp"))
        assert not target.failures
        assert await leader.consensus.propose(b"x", timeout_s=5)
        await connection.close()

    run(tmp_path, scene)


@pytest.mark.parametrize("role", [AGENT, LOCAL])
def test_who_is_no_server_speaks_no_raft_even_to_endpoints_that_are_not_guarded(tmp_path: Path, role: str) -> None:
    async def scene(rig: PeerRig) -> None:
        await rig.leader()
        a, b = rig.nodes["a"], rig.nodes["b"]
        peer = Peer("somebody", role=role, node_id="b")
        meta = SnapshotMeta(10**9, 1, Configuration((RaftMember("b", b.address),)), 1)
        install = InstallSnapshot(sender="b", target="a", term=2**40, meta=meta, round=1)
        chunk = Chunk(
            origin=origin_of(b), voter=True, message=install, transfer="t", size=5, offset=0, checksum=0, data=b""
        )
        found = FoundRequest(origin=origin_of(b), step="prepare", ballot=Ballot(number=1, proposer="b"), expect=3)
        term = a.consensus.stats()["term"]
        a.endpoints.notices["Raft.Messages"][1](envelope(origin_of(b), pre_vote("b", "a")), peer)
        for name, request in (("Raft.Bootstrap", found), ("Raft.Snapshot", chunk)):
            method, handler = a.endpoints.calls[name]
            assert method.permission == "raft:peer"
            with pytest.raises(PermissionDenied, match="only servers speak Raft"):
                await handler(request, peer)
        assert refused(a, "role") == 3
        assert a.consensus.stats()["term"] == term

    run(tmp_path, scene)


def test_a_server_cannot_speak_in_anothers_name_when_certificates_say_who_is_who(tmp_path: Path) -> None:
    async def scene(rig: PeerRig) -> None:
        await rig.leader()
        a, b = rig.nodes["a"], rig.nodes["b"]
        liar = Peer("c (127.0.0.1)", role="server", node="c", node_id="c")
        reply = await a.endpoints.calls["Raft.Status"][1](StatusRequest(origin=origin_of(b)), liar)
        assert "has the certificate of node c and says it is b" in reply.refusal

    run(tmp_path, scene)


def test_a_cluster_with_keys_is_founded_over_mutual_tls(tmp_path: Path) -> None:
    keys = (base64.b64encode(b"k" * 32).decode(),)

    async def within() -> None:
        async with asyncio.timeout(40), peer_rig(tmp_path, "") as rig:
            for name in "abc":
                node = rig.add(name)
                node.identity = ClusterIdentity(keys, "server", name, name, "dc1", SystemClock())
                await node.start()
            leader = await rig.leader()
            assert await leader.consensus.propose(b"x", timeout_s=5)
            with pytest.raises(ChowkError):
                await dial_tcp(leader.address, None)

    asyncio.run(within())
