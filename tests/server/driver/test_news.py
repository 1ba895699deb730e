"""News of a commit: carried by what goes out anyway, before anything else, and after a moment alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from chowk.server.driver.news import NEWS_S, HeldNews
from chowk.server.raft.messages import AppendRequest, Message, ReadIndexResponse
from chowk.server.raft.records import Entry


def append(target: str, commit: int, prev: int, *entries: Entry, is_news: bool = False) -> AppendRequest:
    return AppendRequest(
        sender="a",
        target=target,
        term=1,
        prev_index=prev,
        prev_term=1,
        commit=commit,
        round=1,
        entries=entries,
        is_news=is_news,
    )


def news(target: str, commit: int) -> AppendRequest:
    return append(target, commit, commit, is_news=True)


class Wire:
    """What was sent, and an event for each flush."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.flushed = asyncio.Event()
        self.news = HeldNews(self.sent.append, self.flushed.set)


def on_a_loop(body: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(body(Wire()), 5)

    asyncio.run(run())


def test_news_goes_alone_after_a_moment_and_only_the_newest() -> None:
    async def body(wire: Wire) -> None:
        began = asyncio.get_running_loop().time()
        for commit in (3, 4, 5):
            wire.news.pass_on(news("b", commit))
        wire.news.pass_on(news("c", 5))
        assert not wire.sent
        await wire.flushed.wait()
        assert wire.sent == [news("b", 5), news("c", 5)]
        assert asyncio.get_running_loop().time() - began >= NEWS_S * 0.9

    on_a_loop(body)


def test_entries_that_follow_carry_the_news() -> None:
    async def body(wire: Wire) -> None:
        wire.news.pass_on(news("b", 5))
        carrier = append("b", 5, 5, Entry(6, 1))
        wire.news.pass_on(carrier)
        wire.news.pass_on(news("c", 5))
        await wire.flushed.wait()
        assert wire.sent == [carrier, news("c", 5)]

    on_a_loop(body)


def test_what_does_not_carry_the_news_comes_after_it() -> None:
    async def body(wire: Wire) -> None:
        for later in (
            ReadIndexResponse(sender="a", target="b", term=1, context=1, index=5),
            append("b", 4, 5, Entry(6, 1)),
            append("b", 5, 4, Entry(5, 1)),
        ):
            wire.sent.clear()
            wire.news.pass_on(news("b", 5))
            wire.news.pass_on(later)
            assert wire.sent == [news("b", 5), later]

    on_a_loop(body)


def test_nobody_else_is_told_or_keeps_news_waiting() -> None:
    async def body(wire: Wire) -> None:
        wire.news.pass_on(news("b", 5))
        other = append("c", 5, 5, Entry(6, 1))
        wire.news.pass_on(other)
        assert wire.sent == [other]
        await wire.flushed.wait()
        assert wire.sent == [other, news("b", 5)]

    on_a_loop(body)
