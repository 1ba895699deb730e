"""Subscriptions: a snapshot, then live; resumed when nothing was missed; reset when too slow or of another store."""

from __future__ import annotations

import asyncio

from chowk.core.events import HEALTH, INTENTIONS, SERVICES, Event, Payload, StreamFrame, SummaryItem, Topic
from chowk.core.events import ServiceSummary as Summary
from chowk.server.stream.history import History
from chowk.server.stream.publisher import Publisher
from chowk.server.stream.subscription import FRAME_EVENTS_MAX, PENDING_MAX
from chowk.server.stream.wakeups import Wakeups

SERVICES_TOPIC = Topic(kind=SERVICES)


def payload(name: str) -> Payload:
    return SummaryItem(summary=Summary(service=name))


class Table:
    """One topic's items, changed by hand."""

    def __init__(self) -> None:
        self.index = 1
        self.history = "one"
        self.rows: dict[str, Payload] = {}
        self.publisher = Publisher(self, heartbeat_s=0.01)

    def canonical(self, topic: Topic) -> Topic:
        return Topic(kind=topic.kind, key=topic.key.lower())

    def items(self, topic: Topic) -> dict[str, Payload]:
        return dict(self.rows)

    def put(self, *names: str, topic: Topic = SERVICES_TOPIC) -> None:
        self.index += 1
        for name in names:
            self.rows[name] = payload(name)
        events = tuple(Event(topic=topic, key=name, index=self.index, payload=payload(name)) for name in names)
        self.publisher.publish(self.index, events)


async def live(stream: object) -> StreamFrame:
    """The next frame that brings something."""
    while True:
        frame: StreamFrame = await anext(stream)  # type: ignore[call-overload]
        if frame.events or frame.reset:
            return frame


def test_a_subscriber_gets_a_snapshot_then_what_changes_then_heartbeats() -> None:
    async def scene() -> None:
        table = Table()
        table.put("a")
        stream = table.publisher.subscribe(SERVICES_TOPIC, 0, "")
        first = await anext(stream)
        assert (first.reset, first.snapshot_done, [e.key for e in first.events]) == (True, True, ["a"])
        table.put("b")
        second = await anext(stream)
        assert (second.reset, second.index, [e.key for e in second.events]) == (False, table.index, ["b"])
        table.index += 5
        beat = await anext(stream)
        assert (beat.index, beat.events, beat.reset) == (table.index, (), False)
        await stream.aclose()
        assert len(table.publisher) == 0

    asyncio.run(scene())


def test_what_happens_while_a_snapshot_is_sent_follows_it() -> None:
    async def scene() -> None:
        table = Table()
        table.put(*(f"s{number:05}" for number in range(3 * FRAME_EVENTS_MAX)))
        stream = table.publisher.subscribe(SERVICES_TOPIC, 0, "")
        first = await anext(stream)
        assert (first.reset, first.snapshot_done) == (True, False)
        table.put("new")
        names = [event.key for event in first.events]
        while True:
            frame = await anext(stream)
            names += [event.key for event in frame.events]
            assert not frame.reset
            if frame.snapshot_done:
                break
        assert "new" not in names
        assert [event.key for event in (await anext(stream)).events] == ["new"]
        await stream.aclose()

    asyncio.run(scene())


def test_who_was_away_shortly_gets_only_what_was_missed() -> None:
    async def scene() -> None:
        table = Table()
        table.put("a")
        seen = table.index
        table.put("b", "c")
        table.put("other", topic=Topic(kind=HEALTH, key="x"))
        stream = table.publisher.subscribe(SERVICES_TOPIC, seen, "one")
        assert not (await anext(stream)).reset
        frame = await live(stream)
        assert (frame.reset, [event.key for event in frame.events]) == (False, ["b", "c"])
        await stream.aclose()

    asyncio.run(scene())


def test_an_index_of_another_store_or_of_the_future_or_too_old_starts_anew() -> None:
    async def scene() -> None:
        table = Table()
        table.put("a")
        for index, history in ((table.index, "another"), (table.index, ""), (table.index + 1, "one"), (0, "one")):
            stream = table.publisher.subscribe(SERVICES_TOPIC, index, history)
            assert (await anext(stream)).reset, (index, history)
            await stream.aclose()
        table.publisher.reset()
        stream = table.publisher.subscribe(SERVICES_TOPIC, table.index - 1, "one")
        assert (await anext(stream)).reset
        await stream.aclose()

    asyncio.run(scene())


def test_a_subscriber_that_falls_behind_is_reset_to_a_snapshot() -> None:
    async def scene() -> None:
        table = Table()
        stream = table.publisher.subscribe(SERVICES_TOPIC, 0, "")
        await anext(stream)
        for number in range(PENDING_MAX + 2):
            table.put(f"s{number % 10}")
        frame = await live(stream)
        assert frame.reset
        assert frame.snapshot_done
        assert len(frame.events) == 10
        assert frame.index == table.index
        await stream.aclose()

    asyncio.run(scene())


def test_a_replaced_store_resets_everyone() -> None:
    async def scene() -> None:
        table = Table()
        table.put("a")
        stream = table.publisher.subscribe(SERVICES_TOPIC, 0, "")
        await anext(stream)
        table.rows, table.history, table.index = {"z": payload("z")}, "two", 1
        table.publisher.reset()
        frame = await live(stream)
        assert (frame.reset, frame.history, [event.key for event in frame.events]) == (True, "two", ["z"])
        await stream.aclose()

    asyncio.run(scene())


def test_an_intention_towards_any_service_reaches_followers_of_each() -> None:
    async def scene() -> None:
        table = Table()
        asked = Topic(kind=INTENTIONS, key="db")
        stream = table.publisher.subscribe(asked, 0, "")
        await anext(stream)
        table.put("web/*", topic=Topic(kind=INTENTIONS, key="*"))
        table.put("web/api", topic=Topic(kind=INTENTIONS, key="api"))
        frame = await live(stream)
        assert [(event.topic, event.key) for event in frame.events] == [(asked, "web/*")]
        await stream.aclose()

    asyncio.run(scene())


def test_history_forgets_the_oldest_and_knows_that_it_did() -> None:
    history = History(0, events_max=3)
    for index in range(1, 6):
        history.append((Event(topic=SERVICES_TOPIC, key=str(index), index=index, payload=None),))
    assert history.since(1) is None
    assert [event.index for event in history.since(2) or ()] == [3, 4, 5]
    assert history.since(5) == []


def test_waiters_wake_for_their_topic_only_and_leave_nothing_behind() -> None:
    async def scene() -> None:
        wakeups = Wakeups()
        web, db = Topic(kind=HEALTH, key="web"), Topic(kind=HEALTH, key="db")
        waiting = asyncio.ensure_future(wakeups.wait((web,), 30))
        await asyncio.sleep(0)
        wakeups.notify((db,))
        await asyncio.sleep(0)
        assert not waiting.done()
        wakeups.notify((web,))
        assert await waiting
        assert not await wakeups.wait((web, db), 0.0)
        assert len(wakeups) == 0

    asyncio.run(scene())
