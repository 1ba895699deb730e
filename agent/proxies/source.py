"""One sidecar's source of snapshots: follows the views its proxy needs and publishes a new snapshot when one differs.

Nothing is published before the roots, the intentions and every upstream are known (or an upstream has stayed unknown for
`UPSTREAM_WAIT_S`), so that an agent started without servers never empties a proxy that still serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from chowk.agent.proxies.snapshots import MeshFacts, build_snapshot
from chowk.agent.views.views import View, Views
from chowk.connect.snapshot import ProxySnapshot
from chowk.core.errors import ChowkError
from chowk.core.events import (
    CONFIG,
    CONNECT,
    INTENTIONS,
    ROOTS,
    ConfigItem,
    InstanceItem,
    IntentionItem,
    RootsItem,
    Topic,
)
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxies")
UPSTREAM_WAIT_S = 2.0
RETRY_S = 0.25


class SnapshotSource:
    """Made by the supervisor for each connect-proxy registration. `update` hands it a changed registration."""

    def __init__(self, service: NodeService, node: Node, views: Views, default_allow: bool, clock: Clock) -> None:
        self._service = service
        self._node = node
        self._views = views
        self._default_allow = default_allow
        self._clock = clock
        self._changed = asyncio.Event()
        self._published = asyncio.Event()
        self._tasks = TaskOwner(f"snapshot:{service.id}")
        self._followed: dict[Topic, tuple[View, Callable[[], None]]] = {}
        self._waiting_since: float | None = None
        self.snapshot: ProxySnapshot | None = None

    @property
    def service_name(self) -> str:
        """The service the proxy stands for: the only one its leaf may name."""
        return self._service.proxy.destination_service_name

    def start(self) -> None:
        """Begin to follow."""
        self._tasks.spawn(self._run(), "build")

    async def close(self) -> None:
        """Stop following."""
        await self._tasks.close()
        for _view, remove in self._followed.values():
            remove()
        self._followed.clear()

    def differs(self, service: NodeService, node: Node, default_allow: bool) -> bool:
        """Whether `update` with these would change anything."""
        return (service, node, default_allow) != (self._service, self._node, self._default_allow)

    def update(self, service: NodeService, node: Node, default_allow: bool) -> None:
        """The registration, the node's address or the default changed."""
        self._service, self._node, self._default_allow = service, node, default_allow
        self._waiting_since = None
        self._changed.set()

    async def newer(self, version: int, stop_asked: Callable[[], bool]) -> ProxySnapshot | None:
        """The newest snapshot once it is newer than `version`; None once `stop_asked` says so (`wake` makes it ask)."""
        while not stop_asked():
            if self.snapshot is not None and self.snapshot.version > version:
                return self.snapshot
            published = self._published
            await published.wait()
        return None

    def wake(self) -> None:
        """Let everyone who waits in `newer` look again."""
        self._published.set()
        self._published = asyncio.Event()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            self._follow()
            if self._known():
                self._publish()
            try:
                async with asyncio.timeout(None if self._ready() else RETRY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    @property
    def _wanted(self) -> frozenset[Topic]:
        proxy = self._service.proxy
        return frozenset(
            {
                Topic(kind=ROOTS),
                Topic(kind=INTENTIONS, key=proxy.destination_service_name),
                Topic(kind=CONFIG, key=ServiceDefaults.kind),
                *(Topic(kind=CONNECT, key=upstream.destination_name) for upstream in proxy.upstreams),
            }
        )

    def _follow(self) -> None:
        wanted = self._wanted
        for topic in [topic for topic in self._followed if topic not in wanted]:
            self._followed.pop(topic)[1]()
        for topic in sorted(wanted - self._followed.keys()):
            try:
                view = self._views.view(topic)
            except ChowkError as error:
                log.error("cannot follow", proxy=self._service.id, topic=topic, error=str(error))
                continue
            self._followed[topic] = (view, view.on_change(self._changed.set))

    def _ready(self) -> bool:
        return all(self._is_ready(topic) for topic in self._wanted)

    def _known(self) -> bool:
        """Roots, intentions and defaults must be known; then an upstream may stay unknown for UPSTREAM_WAIT_S."""
        if not all(self._is_ready(topic) for topic in self._wanted if topic.kind != CONNECT):
            self._waiting_since = None
            return False
        if not self._followed[Topic(kind=ROOTS)][0].items:
            return False
        if self._ready():
            return True
        if self._waiting_since is None:
            self._waiting_since = self._clock.now()
        return self._clock.now() - self._waiting_since >= UPSTREAM_WAIT_S

    def _is_ready(self, topic: Topic) -> bool:
        return topic in self._followed and self._followed[topic][0].ready

    def _publish(self) -> None:
        version = max(int(self._clock.wall() * 1000), (self.snapshot.version if self.snapshot else 0) + 1)
        snapshot = build_snapshot(self._service, self._node, self._facts(), version)
        if (
            self.snapshot is not None
            and msgspec.structs.replace(snapshot, version=self.snapshot.version) == self.snapshot
        ):
            return
        self.snapshot = snapshot
        self.wake()

    def _facts(self) -> MeshFacts:
        items = {topic: tuple(view.items.values()) for topic, (view, _) in self._followed.items()}
        roots = [item.roots for item in items[Topic(kind=ROOTS)] if isinstance(item, RootsItem)]
        entries = [
            item.entry for item in items[Topic(kind=CONFIG, key=ServiceDefaults.kind)] if isinstance(item, ConfigItem)
        ]
        intentions = items[Topic(kind=INTENTIONS, key=self._service.proxy.destination_service_name)]
        return MeshFacts(
            roots=roots[0],
            intentions=tuple(
                sorted(
                    (item.intention for item in intentions if isinstance(item, IntentionItem)),
                    key=lambda each: (-each.precedence, each.destination_name, each.source_name),
                )
            ),
            instances={
                topic.key: tuple(item.instance for item in payloads if isinstance(item, InstanceItem))
                for topic, payloads in items.items()
                if topic.kind == CONNECT
            },
            defaults={entry.name: entry for entry in entries if isinstance(entry, ServiceDefaults)},
            default_allow=self._default_allow,
        )
