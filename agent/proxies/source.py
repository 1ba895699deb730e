"""One sidecar's source of snapshots: follows the views its proxy needs and publishes a new snapshot when one differs.

Nothing is published before the roots, the intentions and every upstream are known (or an upstream has stayed unknown for
`UPSTREAM_WAIT_S`), so that an agent started without servers never empties a proxy that still serves. Where the registry
stays silent for `RESTORE_WAIT_S`, the last snapshot of before comes from the disk, for a proxy that has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from chowk.agent.proxies.mesh_view import TOPICS, MeshView
from chowk.agent.proxies.restored import fit
from chowk.agent.proxies.snapshots import MeshFacts, build_snapshot, chain_key
from chowk.agent.proxies.stored import StoredSnapshots
from chowk.agent.views.views import View
from chowk.connect.entries.faults import moment
from chowk.connect.snapshot import Bypass, Endpoint, ProxySnapshot
from chowk.core.errors import ChowkError
from chowk.core.events import CONNECT, INTENTIONS, ROOTS, IntentionItem, RootsItem, Topic
from chowk.core.records.ca import CARoots
from chowk.core.records.chain import CompiledChain
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxies")
UPSTREAM_WAIT_S = 2.0
RESTORE_WAIT_S = 3.0
"""Longer than a registry that is there needs: its intentions of now come before those on the disk."""
RETRY_S = 0.25
PAUSE_S_MIN = 0.01
PAUSE_S_MAX = 0.25
"""Between two snapshots of one sidecar. The first change is told at once; of a storm of them, what it comes to."""
SHARE = 0.25
"""Of this process's time that all sources together may build for."""
STEPS: Final = 2
"""To know what to follow: the entries, and what the chains reach."""


class SnapshotSource:
    """Made by the supervisor for each connect-proxy registration. `update` hands it a changed registration."""

    def __init__(
        self,
        service: NodeService,
        node: Node,
        mesh: MeshView,
        stored: StoredSnapshots,
        default_allow: bool,
        clock: Clock,
    ) -> None:
        self._service = service
        self._node = node
        self._mesh = mesh
        self._stored = stored
        self._default_allow = default_allow
        self._clock = clock
        self._changed = asyncio.Event()
        self._published = asyncio.Event()
        self._tasks = TaskOwner(f"snapshot:{service.id}")
        self._followed: dict[Topic, tuple[View, Callable[[], None]]] = {}
        self._chains: dict[tuple[str, str], CompiledChain] = {}
        self._wanted: frozenset[Topic] = frozenset()
        self._waiting_since: float | None = None
        self._restore_at: float | None = clock.now() + RESTORE_WAIT_S
        self.snapshot: ProxySnapshot | None = None
        self.restored = False
        """Whether `snapshot` is of the disk: no server has answered since this agent started."""

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

    async def newer(
        self, version: int, stop_asked: Callable[[], bool], *, serves: bool = False
    ) -> ProxySnapshot | None:
        """The newest snapshot once it is newer than `version`; None once `stop_asked` says so (`wake` makes it ask).

        A proxy that `serves` by a snapshot it has is told nothing from the disk, which may be older.
        """
        while not stop_asked():
            snapshot = self.snapshot
            held_back = self.restored and serves
            if snapshot is not None and snapshot.version > version and not held_back:
                return snapshot
            published = self._published
            await published.wait()
        return None

    def wake(self) -> None:
        """Let everyone who waits in `newer` look again."""
        self._published.set()
        self._published = asyncio.Event()

    async def _run(self) -> None:
        self._mesh.sources += 1
        unsubscribe = self._mesh.bypasses.on_change(self._changed.set)
        try:
            while True:
                async with self._mesh.turn:
                    self._changed.clear()
                    started = self._clock.now()
                    self._follow()
                    published = self._known() and self._publish()
                    took_s = self._clock.now() - started
                    await asyncio.sleep(0)
                if published:
                    pause_s = took_s * self._mesh.sources / SHARE
                    await self._clock.sleep(min(max(pause_s, PAUSE_S_MIN), PAUSE_S_MAX))
                    if self._changed.is_set():
                        continue
                self._restore()
                self._bypass_restored()
                try:
                    async with asyncio.timeout(None if self._ready() else RETRY_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            unsubscribe()
            self._mesh.sources -= 1

    @property
    def _roots(self) -> CARoots:
        followed = self._followed.get(Topic(kind=ROOTS))
        items = followed[0].items.values() if followed is not None else ()
        return next((item.roots for item in items if isinstance(item, RootsItem)), CARoots())

    def _compiled(self) -> dict[tuple[str, str], CompiledChain]:
        """The chain of each upstream, by what it is for; none before the entries are known."""
        if not all(self._is_ready(topic) for topic in TOPICS):
            return {}
        keys = sorted({chain_key(upstream, self._node) for upstream in self._service.proxy.upstreams})
        return self._mesh.chains(keys, self._roots.trust_domain)

    def _topics(self) -> frozenset[Topic]:
        """What the snapshot is made of, as far as the chains tell."""
        proxy, here = self._service.proxy, self._node.datacenter
        reached = {
            target.service
            for chain in self._chains.values()
            for target in chain.targets.values()
            if target.datacenter == here
        }
        upstreams = {upstream.destination_name for upstream in proxy.upstreams} if not self._chains else set()
        return frozenset(
            {
                Topic(kind=ROOTS),
                Topic(kind=INTENTIONS, key=proxy.destination_service_name),
                *TOPICS,
                *(Topic(kind=CONNECT, key=name) for name in reached | upstreams),
            }
        )

    def _follow(self) -> None:
        """Entries that other sidecars follow already are known at once, and lead on to what the chains reach."""
        for _ in range(STEPS):
            self._chains = self._compiled()
            self._wanted = self._topics()
            if self._wanted == self._followed.keys():
                return
            self._follow_wanted()

    def _follow_wanted(self) -> None:
        for topic in [topic for topic in self._followed if topic not in self._wanted]:
            self._followed.pop(topic)[1]()
        for topic in sorted(self._wanted - self._followed.keys()):
            try:
                view = self._mesh.views.view(topic)
            except ChowkError as error:
                log.error("cannot follow", proxy=self._service.id, topic=topic, error=str(error))
                continue
            self._followed[topic] = (view, view.on_change(self._changed.set))

    def _ready(self) -> bool:
        return all(self._is_ready(topic) for topic in self._wanted)

    def _known(self) -> bool:
        """Roots, intentions and entries must be known; then an upstream may stay unknown for UPSTREAM_WAIT_S."""
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

    def _publish(self) -> bool:
        """Whether the snapshot is another than before."""
        version = max(int(self._clock.wall() * 1000), (self.snapshot.version if self.snapshot else 0) + 1)
        snapshot = build_snapshot(self._service, self._node, self._facts(), version)
        if (
            self.snapshot is not None
            and not self.restored
            and msgspec.structs.replace(snapshot, version=self.snapshot.version) == self.snapshot
        ):
            return False
        self._show(snapshot, restored=False)
        self._stored.note(snapshot)
        return True

    def _restore(self) -> None:
        """Once, when the registry has been silent for long enough: what it said before this agent started."""
        if self._restore_at is None or (self.snapshot is None and self._clock.now() < self._restore_at):
            return
        self._restore_at = None
        stored = self._stored.load(self._service.id) if self.snapshot is None else None
        snapshot = fit(stored, self._service, self._node, default_allow=self._default_allow) if stored else None
        if snapshot is not None:
            log.warning("no server answers: a sidecar serves by its last snapshot", proxy=self._service.id)
            self._show(snapshot, restored=True)

    def _bypass_restored(self) -> None:
        """What is served from the disk follows the bypasses of this host: then nobody else can be asked. One of the whole
        mesh stays for its time.
        """
        if self.snapshot is None or not self.restored:
            return
        reached = {target.service for target in self.snapshot.targets.values()} | {self.snapshot.service}
        bypasses = self._mesh.bypasses
        stored = [each for each in self.snapshot.bypasses if not each.host and bypasses.allowed]
        here = [each for each in bypasses.active() if each.service in reached]
        wanted = tuple(sorted((*stored, *here), key=lambda each: (each.service, each.expires_s)))
        if wanted != self.snapshot.bypasses:
            version = max(int(self._clock.wall() * 1000), self.snapshot.version + 1)
            self._show(msgspec.structs.replace(self.snapshot, version=version, bypasses=wanted), restored=True)

    def _show(self, snapshot: ProxySnapshot, *, restored: bool) -> None:
        self.snapshot, self.restored = snapshot, restored
        self.wake()

    def _facts(self) -> MeshFacts:
        intentions = self._followed[Topic(kind=INTENTIONS, key=self._service.proxy.destination_service_name)][0].items
        return MeshFacts(
            roots=self._roots,
            intentions=tuple(
                sorted(
                    (item.intention for item in intentions.values() if isinstance(item, IntentionItem)),
                    key=lambda each: (-each.precedence, each.destination_name, each.source_name),
                )
            ),
            entries=self._mesh.entries(),
            chains=self._chains,
            parts=self._mesh.parts,
            endpoints=self._endpoints(),
            default_allow=self._default_allow,
            bypasses=self._bypasses(),
        )

    def _bypasses(self) -> tuple[Bypass, ...]:
        """Those of the whole cluster, then those of this host: of one service the one that lasts longer."""
        found = {each.service: each for each in self._mesh.bypasses.active()}
        if self._mesh.bypasses.allowed:
            for name, entry in self._mesh.entries().bypasses.items():
                ends = moment(entry.expires)
                if ends is not None and (name not in found or found[name].expires_s < ends):
                    found[name] = Bypass(service=name, expires_s=ends, reason=entry.reason, by=entry.by)
        return tuple(found[name] for name in sorted(found))

    def _endpoints(self) -> dict[str, tuple[Endpoint, ...]]:
        found = {}
        for chain in self._chains.values():
            for target in chain.targets.values():
                followed = self._followed.get(Topic(kind=CONNECT, key=target.service))
                if followed is not None and target.datacenter == self._node.datacenter:
                    found[target.id] = self._mesh.endpoints(followed[0], target)
        return found
