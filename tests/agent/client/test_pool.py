"""The servers' client against a real socket: redials, retries within the deadline, subscriptions that resume."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chowk.agent.client import pool
from chowk.agent.client.pool import WRITES_MAX, ServerClient
from chowk.core import errors
from chowk.core.commands import Deregister
from chowk.core.events import StreamFrame, Topic
from chowk.core.requests import CATALOG_NODES, CATALOG_WRITE, STATUS_LEADER, Empty, LeaderReply, Read, WriteReply
from support.fake_server import FakeServer, until

TOPIC = Topic(kind="nodes")


def with_client(path: Path, body: Callable[[ServerClient], Awaitable[None]]) -> None:
    async def run() -> None:
        client = ServerClient(path / "server.sock")
        await client.start()
        try:
            await asyncio.wait_for(body(client), 20)
        finally:
            await client.close()

    asyncio.run(run())


def test_a_call_made_before_the_server_is_there_is_answered_once_it_comes(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        calling = asyncio.ensure_future(client.call(STATUS_LEADER, Empty()))
        await asyncio.sleep(0)
        assert not client.connected
        server = FakeServer(tmp_path / "server.sock")
        server.answer(STATUS_LEADER, LeaderReply(leader="a:1"))
        await server.start()
        assert (await calling).leader == "a:1"
        assert client.connected
        assert client.silent_s == 0
        await server.close()

    with_client(tmp_path, body)


def test_without_a_server_a_call_fails_at_its_deadline_and_says_why(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        with pytest.raises(errors.Unavailable, match="no server can be reached"):
            await client.call(STATUS_LEADER, Empty(), timeout_s=0.05)

    with_client(tmp_path, body)


def test_no_leader_is_tried_again_until_there_is_one(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        answers = [errors.NoLeader(), errors.NoLeader(), LeaderReply(leader="b:1")]
        server = FakeServer(tmp_path / "server.sock")
        server.answer(STATUS_LEADER, lambda _request: answers.pop(0))
        await server.start()
        assert (await client.call(STATUS_LEADER, Empty())).leader == "b:1"
        assert len(server.calls) == 3
        await server.close()

    with_client(tmp_path, body)


def test_no_leader_for_the_whole_deadline_is_told_as_no_leader(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        server = FakeServer(tmp_path / "server.sock")
        server.answer(STATUS_LEADER, lambda _request: errors.NoLeader())
        await server.start()
        with pytest.raises(errors.NoLeader, match="No cluster leader"):
            await client.call(STATUS_LEADER, Empty(), timeout_s=0.2)
        await server.close()

    with_client(tmp_path, body)


def test_a_deadline_that_passes_while_nobody_leads_says_that_nobody_leads(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        asked = False

        async def once(_request: object) -> LeaderReply:
            nonlocal asked
            if not asked:
                asked = True
                raise errors.NoLeader
            await asyncio.Event().wait()
            raise AssertionError

        server = FakeServer(tmp_path / "server.sock")
        server.answer(STATUS_LEADER, once)
        await server.start()
        with pytest.raises(errors.NoLeader, match=r"^No cluster leader$"):
            await client.call(STATUS_LEADER, Empty(), timeout_s=0.3)
        await server.close()

    with_client(tmp_path, body)


def test_what_the_only_server_has_held_back_in_vain_is_not_held_back_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RPC_HOLD_S", 0.6)

    async def body(client: ServerClient) -> None:
        async def held(_request: object) -> LeaderReply:
            await asyncio.sleep(0.12)
            raise errors.NoLeader

        server = FakeServer(tmp_path / "server.sock")
        server.answer(STATUS_LEADER, held)
        await server.start()
        with pytest.raises(errors.NoLeader):
            await client.call(STATUS_LEADER, Empty())
        assert len(server.calls) == 1
        await server.close()

    with_client(tmp_path, body)


def test_a_wrong_request_is_not_tried_again(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        server = FakeServer(tmp_path / "server.sock")
        server.answer(STATUS_LEADER, lambda _request: errors.InvalidRequest("no"))
        await server.start()
        with pytest.raises(errors.InvalidRequest):
            await client.call(STATUS_LEADER, Empty())
        assert len(server.calls) == 1
        await server.close()

    with_client(tmp_path, body)


def test_a_write_whose_answer_was_lost_is_sent_again_with_the_same_sequence(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        first = FakeServer(tmp_path / "server.sock")
        asked = asyncio.Event()

        async def never(_request: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        first.answer(CATALOG_WRITE, never)
        await first.start()
        writing = asyncio.ensure_future(client.call(CATALOG_WRITE, client.next_write(Deregister(node="n"))))
        await asked.wait()
        await first.close()
        second = FakeServer(tmp_path / "server.sock")
        second.answer(CATALOG_WRITE, WriteReply(index=9))
        await second.start()
        assert (await writing).index == 9
        assert first.calls == second.calls
        assert first.calls[0][1].client
        await second.close()

    with_client(tmp_path, body)


def test_two_writes_never_share_a_sequence_and_only_so_many_are_under_way(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        server = FakeServer(tmp_path / "server.sock")
        gate = asyncio.Event()

        async def later(_request: object) -> WriteReply:
            await gate.wait()
            return WriteReply(index=1)

        server.answer(CATALOG_WRITE, later)
        await server.start()
        writes = [client.next_write(Deregister(node="n")) for _ in range(WRITES_MAX + 20)]
        tasks = [asyncio.ensure_future(client.call(CATALOG_WRITE, write)) for write in writes]
        await until(lambda: len(server.calls) == WRITES_MAX)
        await asyncio.sleep(0.05)
        assert len(server.calls) == WRITES_MAX
        gate.set()
        await asyncio.gather(*tasks)
        assert sorted(write.sequence for _name, write in server.calls) == list(range(1, WRITES_MAX + 21))
        await server.close()

    with_client(tmp_path, body)


def test_a_caller_that_goes_away_ends_the_call_at_the_server(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        server = FakeServer(tmp_path / "server.sock")

        async def never(_request: object) -> None:
            await asyncio.Event().wait()

        server.answer(CATALOG_NODES, never)
        await server.start()
        calling = asyncio.ensure_future(client.call(CATALOG_NODES, Read()))
        await until(lambda: server.calls)
        calling.cancel()
        await until(lambda: server.cancelled == [CATALOG_NODES.name])
        await server.close()

    with_client(tmp_path, body)


def test_a_subscription_survives_its_server_and_resumes_where_it_was(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        server = FakeServer(tmp_path / "server.sock")
        server.snapshots[TOPIC] = (StreamFrame(index=7, reset=True, snapshot_done=True, history="h"),)
        await server.start()
        frames = client.subscribe(TOPIC)
        assert (await anext(frames)).index == 7
        await server.close()
        again = FakeServer(tmp_path / "server.sock")
        await again.start()
        waiting = asyncio.ensure_future(anext(frames))
        await until(lambda: again.subscriptions)
        assert (again.subscriptions[0].index, again.subscriptions[0].history) == (7, "h")
        again.publish(TOPIC, StreamFrame(index=8))
        assert (await waiting).index == 8
        await frames.aclose()  # type: ignore[attr-defined]
        await again.close()

    with_client(tmp_path, body)


def test_a_subscription_cut_off_within_a_snapshot_starts_over(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        server = FakeServer(tmp_path / "server.sock")
        server.snapshots[TOPIC] = (StreamFrame(index=7, reset=True),)
        await server.start()
        frames = client.subscribe(TOPIC)
        assert not (await anext(frames)).snapshot_done
        await server.close()
        again = FakeServer(tmp_path / "server.sock")
        await again.start()
        assert (await anext(frames)).reset
        assert again.subscriptions[0].index == 0
        await frames.aclose()  # type: ignore[attr-defined]
        await again.close()

    with_client(tmp_path, body)


def test_each_new_connection_is_told_and_a_faulty_listener_breaks_nothing(tmp_path: Path) -> None:
    async def body(client: ServerClient) -> None:
        told: list[int] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

        def faulty() -> None:
            raise ValueError

        client.on_connect(faulty)
        remove = client.on_connect(lambda: told.append(1))
        for count in (1, 2):
            server = FakeServer(tmp_path / "server.sock")
            await server.start()
            await until(lambda count=count: len(told) == count)
            await server.close()
        remove()
        server = FakeServer(tmp_path / "server.sock")
        await server.start()
        await until(lambda: client.connected)
        await asyncio.sleep(0)
        assert len(told) == 2
        await server.close()

    with_client(tmp_path, body)
