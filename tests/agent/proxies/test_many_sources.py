"""Many sidecars of one agent: what a change of the mesh's configuration asks of it."""

from __future__ import annotations

import asyncio

from chowk.agent.proxies.bypasses import HostBypasses
from chowk.agent.proxies.mesh_view import TOPICS, MeshView
from chowk.agent.proxies.source import SnapshotSource
from chowk.agent.proxies.stored import StoredSnapshots
from chowk.core.events import CONFIG, CONNECT, INTENTIONS, ROOTS, ConfigItem, RootsItem, Topic
from chowk.core.records.ca import CARoots
from chowk.core.records.node import Node
from chowk.core.records.resolver import ResolverRedirect, ServiceResolver
from chowk.core.records.service import ConnectProxy, NodeService, Upstream
from chowk.core.runtime.clock import ManualClock
from support.stub_views import StubViews

HOST = Node(node="host1", address="127.0.0.1")
COUNT = 20


class Stage:
    """COUNT sidecars that call `api`. Everything is known before they start, as for one that is registered later."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.views = StubViews()
        self.trust("t.consul")
        self.views.view(Topic(kind=CONNECT, key="api")).fill()
        for topic in TOPICS:
            self.views.view(topic).fill()
        bypasses = HostBypasses(None, self.clock, allowed=True)
        mesh = MeshView(self.views, bypasses)  # type: ignore[arg-type]
        stored = StoredSnapshots(None, self.clock, keeps_leaves=False)
        self.sources = []
        for number in range(COUNT):
            self.views.view(Topic(kind=INTENTIONS, key=f"svc-{number}")).fill()
            upstream = Upstream(destination_name="api", local_bind_port=9000 + number)
            proxy = ConnectProxy(destination_service_name=f"svc-{number}", upstreams=(upstream,))
            service = NodeService(kind="connect-proxy", id=f"p-{number}", service="p", port=21000, proxy=proxy)
            self.sources.append(SnapshotSource(service, HOST, mesh, stored, True, self.clock))

    def trust(self, domain: str) -> None:
        self.views.view(Topic(kind=ROOTS)).fill(roots=RootsItem(roots=CARoots(trust_domain=domain)))

    def told(self, domain: str) -> int:
        snapshots = [source.snapshot for source in self.sources]
        return sum(1 for each in snapshots if each is not None and each.roots.trust_domain == domain)

    async def turns_until_told(self, domain: str) -> list[int]:
        """How many know it, after each turn of the loop."""
        counts = []
        async with asyncio.timeout(10):
            while not counts or counts[-1] < COUNT:
                await asyncio.sleep(0)
                counts.append(self.told(domain))
        return counts


def test_the_agent_builds_for_one_sidecar_at_a_time_and_does_its_other_work_between_them() -> None:
    async def scene() -> None:
        stage = Stage()
        for source in stage.sources:
            source.start()
        assert max(_steps(await stage.turns_until_told("t.consul"))) == 1
        await stage.clock.advance(1.0)
        stage.trust("u.consul")
        assert max(_steps(await stage.turns_until_told("u.consul"))) == 1
        for source in stage.sources:
            await source.close()

    asyncio.run(scene())


def test_a_sidecar_that_comes_when_everything_is_known_is_told_at_once_whom_a_redirect_reaches() -> None:
    async def scene() -> None:
        stage = Stage()
        entry = ServiceResolver(name="api", redirect=ResolverRedirect(service="db"))
        stage.views.view(Topic(kind=CONFIG, key=ServiceResolver.kind)).fill(api=ConfigItem(entry=entry))
        stage.views.view(Topic(kind=CONNECT, key="db")).fill()
        source = stage.sources[0]
        source.start()
        for _ in range(3):
            await asyncio.sleep(0)
        assert source.snapshot is not None
        assert [target.service for target in source.snapshot.targets.values()] == ["db"]
        await source.close()

    asyncio.run(scene())


def test_sidecars_of_the_same_services_share_what_is_compiled() -> None:
    async def scene() -> None:
        stage = Stage()
        for source in stage.sources:
            source.start()
        await stage.turns_until_told("t.consul")
        upstreams = [source.snapshot.upstreams[0] for source in stage.sources if source.snapshot is not None]
        assert len({id(upstream.clusters) for upstream in upstreams}) == 1
        assert len({id(upstream.routes) for upstream in upstreams}) == 1
        assert len({upstream.bind_port for upstream in upstreams}) == COUNT
        for source in stage.sources:
            await source.close()

    asyncio.run(scene())


def _steps(counts: list[int]) -> list[int]:
    return [after - before for before, after in zip([0, *counts], counts, strict=False)]
