"""When each thing last changed: the index a blocking query compares, and the key it waits on.

A thing is a `Topic`: those of `core.events`, and a few more that are only asked for. So a watcher of `web` is not woken by
`db`. What is gone keeps no entry of its own: its kind remembers when one last went, as Consul's `last_extinction` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from chowk.core.events import CONFIG, INTENTIONS, NODES, SERVICES, Topic
from chowk.server.state.rows import Rows

CHECKS = "checks"
"""Every check of the datacenter."""
NODE = "node"
"""One node with its services and checks, by its lower-case name."""
INSTANCES = "instances"
"""Any instance or node at all: for look-ups by address."""
CA_CONFIGURATION = "ca-configuration"
METADATA = "metadata"
EXTINCT = "extinct"

AUTOPILOT = Topic(kind=METADATA, key="autopilot")
ANY_CHECK = Topic(kind=CHECKS)
ANY_INSTANCE = Topic(kind=INSTANCES)
ANY_INTENTION = Topic(kind=INTENTIONS)
ANY_ENTRY = Topic(kind=CONFIG)
ALL_NODES = Topic(kind=NODES)
ALL_SERVICES = Topic(kind=SERVICES)


class LastChanged:
    """Topic -> index. Bounded by the things that exist, plus one entry a kind."""

    def __init__(self) -> None:
        self._at: dict[Topic, int] = {}

    def index(self, *topics: Topic) -> int:
        """The newest change of `topics`; at least 1, for an index of 0 would not block."""
        return max(1, *(self._index(topic) for topic in topics))

    def _index(self, topic: Topic) -> int:
        found = self._at.get(topic)
        return found if found is not None else self._at.get(Topic(kind=EXTINCT, key=topic.kind), 0)

    def mark(self, topics: Iterable[Topic], index: int) -> None:
        """`topics` changed at `index`."""
        for topic in topics:
            self._at[topic] = index

    def mark_gone(self, topic: Topic, index: int) -> None:
        """Nothing is left of `topic`."""
        self._at.pop(topic, None)
        self._at[Topic(kind=EXTINCT, key=topic.kind)] = index

    def table(self) -> dict[Topic, int]:
        """All of it, for who frees it bit by bit."""
        return self._at

    def rows(self) -> Rows[tuple[str, str, int]]:
        """For a snapshot: (kind, key, index), ordered; as they are now, also when they are taken later, in a thread."""
        return Rows(partial(_ordered, list(self._at), list(self._at.values())))

    def load(self, rows: Iterable[tuple[str, str, int]]) -> None:
        """Take the rows of a snapshot."""
        self._at.update((Topic(kind=kind, key=key), index) for kind, key, index in rows)


def _ordered(topics: list[Topic], indexes: list[int]) -> Iterator[tuple[str, str, int]]:
    yield from sorted((topic.kind, topic.key, index) for topic, index in zip(topics, indexes, strict=True))
