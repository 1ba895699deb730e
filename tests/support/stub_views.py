"""An agent's views, filled by tests instead of servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chowk.agent.proxies.mesh_view import TOPICS
from chowk.core.events import INTENTIONS, ROOTS, RootsItem, Topic
from chowk.core.records.ca import CARoots


class StubView:
    """A view that tests fill."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.ready = False
        self.generation = 0
        self.items: dict[str, Any] = {}
        self.callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def fill(self, **items: Any) -> None:
        self.ready, self.items = True, items
        self.generation += 1
        for callback in list(self.callbacks):
            callback()


class StubViews(dict[Topic, StubView]):
    """Views by topic, made on first use."""

    def view(self, topic: Topic) -> StubView:
        return self.setdefault(topic, StubView(topic))

    def fill_mesh(self) -> None:
        """A mesh of nothing but its trust domain, t.consul."""
        self.view(Topic(kind=ROOTS)).fill(roots=RootsItem(roots=CARoots(trust_domain="t.consul")))
        self.view(Topic(kind=INTENTIONS, key="web")).fill()
        for topic in TOPICS:
            self.view(topic).fill()
