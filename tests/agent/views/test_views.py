"""Views over a real socket: they fill, follow, outlive their server, and are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chowk.agent.client.pool import ServerClient
from chowk.agent.views.views import IDLE_S, SWEEP_S, Views
from chowk.core import errors
from chowk.core.events import Event, NodeItem, StreamFrame, Topic
from chowk.core.records.node import Node
from chowk.core.runtime.clock import ManualClock
from support.fake_server import FakeServer, until

NODES = Topic(kind="nodes")


def frame(index: int, *names: str, reset: bool = False) -> StreamFrame:
    events = tuple(
        Event(topic=NODES, key=name, index=index, payload=NodeItem(node=Node(node=name, address="::1")))
        for name in names
    )
    return StreamFrame(index=index, events=events, reset=reset, snapshot_done=reset)


def with_views(
    path: Path, body: Callable[[FakeServer, Views, ManualClock], Awaitable[None]], *, views_max: int = 100
) -> None:
    async def run() -> None:
        clock = ManualClock()
        server = FakeServer(path / "server.sock")
        server.snapshots[NODES] = (frame(3, "a", reset=True),)
        await server.start()
        client = ServerClient(path / "server.sock")
        views = Views(client, clock, views_max=views_max)
        await client.start()
        await views.start()
        try:
            await asyncio.wait_for(body(server, views, clock), 20)
        finally:
            await views.close()
            await client.close()
            await server.close()

    asyncio.run(run())


def test_a_view_fills_and_follows_and_tells_its_followers(tmp_path: Path) -> None:
    async def body(server: FakeServer, views: Views, _clock: ManualClock) -> None:
        view = views.view(NODES)
        assert not view.ready
        await view.wait_ready(5)
        assert list(view.items) == ["a"]
        told: list[tuple[str, ...]] = []
        remove = view.on_change(lambda: told.append(tuple(view.items)))
        generation = view.generation
        server.publish(NODES, frame(4, "b"))
        await until(lambda: told)
        assert told == [("a", "b")]
        assert view.generation > generation
        remove()
        server.publish(NODES, frame(5, "c"))
        await until(lambda: "c" in view.items)
        assert len(told) == 1
        assert views.view(NODES) is view
        assert len(server.subscriptions) == 1

    with_views(tmp_path, body)


def test_a_view_keeps_its_items_when_every_server_is_gone(tmp_path: Path) -> None:
    async def body(server: FakeServer, views: Views, _clock: ManualClock) -> None:
        view = views.view(NODES)
        await view.wait_ready(5)
        await server.close()
        await until(lambda: view.age_s > 0)
        assert view.ready
        assert list(view.items) == ["a"]

    with_views(tmp_path, body)


def test_without_a_server_waiting_for_a_view_ends_with_unavailable(tmp_path: Path) -> None:
    async def body(server: FakeServer, views: Views, _clock: ManualClock) -> None:
        await server.close()
        with pytest.raises(errors.Unavailable):
            await views.view(NODES).wait_ready(0.05)

    with_views(tmp_path, body)


def test_a_memo_is_computed_once_a_change(tmp_path: Path) -> None:
    async def body(server: FakeServer, views: Views, _clock: ManualClock) -> None:
        view = views.view(NODES)
        await view.wait_ready(5)
        assert view.memo("x", lambda view: list(view.items)) is view.memo("x", lambda view: list(view.items))
        server.publish(NODES, frame(4, "b"))
        await until(lambda: "b" in view.items)
        assert view.memo("x", lambda view: list(view.items)) == ["a", "b"]

    with_views(tmp_path, body)


def test_views_are_bounded_the_one_unused_for_longest_goes_and_those_in_use_stay(tmp_path: Path) -> None:
    async def body(_server: FakeServer, views: Views, clock: ManualClock) -> None:
        topics = [Topic(kind="health", key=str(number)) for number in range(4)]
        first, second = views.view(topics[0]), views.view(topics[1])
        first.on_change(lambda: None)
        await clock.advance(1)
        views.view(topics[2])
        assert len(views) == 2
        assert views.peek(topics[1]) is None
        assert views.peek(topics[0]) is first
        assert second is not views.peek(topics[1])
        third = views.view(topics[2])
        third.on_change(lambda: None)
        with pytest.raises(errors.TooManyRequests):
            views.view(topics[3])

    with_views(tmp_path, body, views_max=2)


def test_a_view_nobody_uses_is_closed_and_a_new_one_never_repeats_its_generations(tmp_path: Path) -> None:
    async def body(server: FakeServer, views: Views, clock: ManualClock) -> None:
        view = views.view(NODES)
        await view.wait_ready(5)
        followed = views.view(Topic(kind="services"))
        followed.on_change(lambda: None)
        await clock.advance(IDLE_S + SWEEP_S)
        assert views.peek(NODES) is None
        assert views.peek(Topic(kind="services")) is followed
        again = views.view(NODES)
        assert again.generation > view.generation

    with_views(tmp_path, body)


def test_a_blocking_reader_wakes_on_a_change_and_not_on_a_heartbeat(tmp_path: Path) -> None:
    async def body(server: FakeServer, views: Views, _clock: ManualClock) -> None:
        view = views.view(NODES)
        await view.wait_ready(5)
        waiting = asyncio.ensure_future(view.wait_index(view.changed_index, 10))
        await until(lambda: view.in_use)
        server.publish(NODES, StreamFrame(index=50))
        await until(lambda: view.index == 50)
        assert not waiting.done()
        server.publish(NODES, frame(51, "z"))
        await waiting
        assert view.changed_index == 51

    with_views(tmp_path, body)
