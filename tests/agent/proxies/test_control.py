"""The control socket: who may serve a proxy, and whose leaf it gets. Over a real Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chowk.agent.proxies.bypasses import HostBypasses
from chowk.agent.proxies.control import ControlService
from chowk.agent.proxies.mesh_view import MeshView
from chowk.agent.proxies.source import PAUSE_S_MAX, SnapshotSource
from chowk.agent.proxies.stored import StoredSnapshots
from chowk.connect.control import ATTACH, REPORT, SIGN_LEAF, Attach, Instruction, Report, SignLeaf
from chowk.core.errors import PermissionDenied, TooManyRequests
from chowk.core.events import INTENTIONS, ROOTS, RootsItem, Topic
from chowk.core.records.ca import CARoots, LeafCertificate
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, NodeService, Upstream
from chowk.core.requests import SignReply, SignRequest
from chowk.core.runtime.clock import ManualClock
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.listener import RpcListener, dial_unix
from support.stub_views import StubView, StubViews

HOST = Node(node="host1", address="127.0.0.1")
PROXY = "web-sidecar-proxy"


class StubServers:
    """Signs whatever it is asked, and remembers for whom."""

    def __init__(self) -> None:
        self.signed: list[SignRequest] = []

    async def call(self, _method: object, request: SignRequest, *, timeout_s: float) -> SignReply:
        self.signed.append(request)
        leaf = LeafCertificate(
            serial_number="1", cert_pem="", service=request.service, service_uri="", valid_after="", valid_before=""
        )
        return SignReply(leaf=leaf)


class Stage:
    """A control socket over stubs."""

    def __init__(self, folder: Path) -> None:
        self.views = StubViews()
        self.servers = StubServers()
        self.listening: list[str] = []
        self.clock = ManualClock()
        self.stored = StoredSnapshots(None, self.clock, keeps_leaves=False)
        self.sources: dict[str, SnapshotSource] = {}
        self.bypasses = HostBypasses(None, self.clock, allowed=True)
        self.control = ControlService(
            self,
            self.servers,  # type: ignore[arg-type]
            "host1",
            lambda: None,
            self.listening.append,
            ManualClock(),
            self.bypasses,
        )
        self.path = folder / "proxies.sock"
        self.listener = RpcListener(self.path, self.control.endpoints())

    def source(self, proxy_id: str) -> SnapshotSource | None:
        return self.sources.get(proxy_id)

    def register(self, *upstreams: str) -> SnapshotSource:
        proxy = ConnectProxy(
            destination_service_name="web",
            local_service_port=80,
            upstreams=tuple(
                Upstream(destination_name=name, local_bind_port=9000 + i) for i, name in enumerate(upstreams)
            ),
        )
        service = NodeService(kind="connect-proxy", id=PROXY, service=PROXY, port=21000, proxy=proxy)
        mesh = MeshView(self.views, self.bypasses)  # type: ignore[arg-type]
        source = self.sources[PROXY] = SnapshotSource(service, HOST, mesh, self.stored, True, self.clock)
        source.start()
        return source


def play(tmp_path: Path, scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        stage = Stage(tmp_path)
        await stage.listener.start()
        try:
            async with asyncio.timeout(20):
                await scene(stage)
        finally:
            await stage.listener.close()
            for source in stage.sources.values():
                await source.close()

    asyncio.run(main())


def attach(connection: RpcConnection, instance: str, *, manual: bool = False, proxy_id: str = PROXY) -> Any:
    return connection.stream(ATTACH, Attach(proxy_id=proxy_id, pid=1, instance=instance, manual=manual))


def test_a_proxy_that_is_not_registered_is_told_to_stop(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        connection = await dial_unix(stage.path)
        instruction: Instruction = await anext(attach(connection, "a", proxy_id="nobody"))
        assert instruction.stop
        assert '"nobody"' in instruction.reason
        await connection.close()

    play(tmp_path, scene)


def test_a_snapshot_comes_once_everything_is_known_and_again_when_it_changes(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.register()
        connection = await dial_unix(stage.path)
        stream = attach(connection, "a")
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not first.done()
        stage.views.fill_mesh()
        instruction = await first
        assert instruction.snapshot.roots.trust_domain == "t.consul"
        for name in ("s", "t", "u"):
            stage.views.view(Topic(kind=ROOTS)).fill(roots=RootsItem(roots=CARoots(trust_domain=f"{name}.consul")))
        await stage.clock.advance(PAUSE_S_MAX)
        later = await anext(stream)
        assert later.snapshot.roots.trust_domain == "u.consul"
        assert later.snapshot.version > instruction.snapshot.version, "a storm is told by what it comes to"
        await connection.close()

    play(tmp_path, scene)


def test_a_proxy_that_serves_hears_of_the_hosts_bypasses_without_any_server(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.register()
        stage.bypasses.begin("web", 60.0, "INC-1", "ops")
        connection = await dial_unix(stage.path)
        stream = connection.stream(ATTACH, Attach(proxy_id=PROXY, pid=1, instance="a", version=7))
        first = await anext(stream)
        assert first.snapshot is None
        assert [each.reason for each in first.bypasses.active] == ["INC-1"]
        stage.bypasses.end("web", "ops")
        assert (await anext(stream)).bypasses.active == ()
        await connection.close()

    play(tmp_path, scene)


def test_an_upstream_that_stays_unknown_does_not_hold_the_others_back_for_ever(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        source = stage.register("api")
        await stage.clock.advance(60.0)
        stage.views.fill_mesh()
        await stage.clock.advance(1.0)
        assert source.snapshot is None
        await stage.clock.advance(2.0)
        snapshot = await source.newer(0, lambda: False)
        assert snapshot is not None
        assert not any(target.endpoints for target in snapshot.targets.values())

    play(tmp_path, scene)


def test_of_two_launched_proxies_the_first_stays(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.register()
        stage.views.fill_mesh()
        connection = await dial_unix(stage.path)
        first = attach(connection, "a")
        assert (await anext(first)).snapshot is not None
        assert (await anext(attach(connection, "b"))).stop
        assert stage.control.attached[PROXY].attach.instance == "a"
        await connection.close()

    play(tmp_path, scene)


def test_a_proxy_started_by_hand_takes_over_and_keeps_its_place(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.register()
        stage.views.fill_mesh()
        connection = await dial_unix(stage.path)
        launched = attach(connection, "a")
        await anext(launched)
        by_hand = attach(connection, "b", manual=True)
        assert (await anext(by_hand)).snapshot is not None
        farewell = await anext(launched)
        assert farewell.stop
        assert "started by hand" in farewell.reason
        assert (await anext(attach(connection, "c"))).stop
        assert stage.control.attached[PROXY].attach.instance == "b"
        await connection.close()

    play(tmp_path, scene)


def test_a_leaf_is_signed_for_the_registered_service_and_only_for_who_is_attached(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.register()
        stage.views.fill_mesh()
        connection = await dial_unix(stage.path)
        request = SignLeaf(proxy_id=PROXY, instance="a", csr_pem="csr")
        with pytest.raises(PermissionDenied):
            await connection.call(SIGN_LEAF, request, timeout_s=5)
        stream = attach(connection, "a")
        await anext(stream)
        assert (await connection.call(SIGN_LEAF, request, timeout_s=5)).leaf.service == "web"
        stranger = SignLeaf(proxy_id=PROXY, instance="b", csr_pem="csr")
        with pytest.raises(PermissionDenied):
            await connection.call(SIGN_LEAF, stranger, timeout_s=5)
        assert [(sign.service, sign.node) for sign in stage.servers.signed] == [("web", "host1")]
        await connection.close()

    play(tmp_path, scene)


def test_the_first_report_of_a_listening_proxy_is_told_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.register()
        stage.views.fill_mesh()
        connection = await dial_unix(stage.path)
        stream = attach(connection, "a")
        await anext(stream)
        for listening in (False, True, True):
            report = Report(proxy_id=PROXY, instance="a", version=1, inbound_listening=listening)
            await connection.call(REPORT, report, timeout_s=5)
        assert stage.listening == [PROXY]
        await connection.close()

    play(tmp_path, scene)


def test_a_view_that_cannot_be_had_leaves_the_proxy_as_it_is(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        full = True
        view = stage.views.view

        def refuse(topic: Topic) -> StubView:
            if full and topic.kind == INTENTIONS:
                raise TooManyRequests("every view is in use")
            return view(topic)

        stage.views.view = refuse  # type: ignore[method-assign]
        source = stage.register()
        await stage.clock.advance(1.0)
        assert source.snapshot is None
        full = False
        stage.views.fill_mesh()
        assert await source.newer(0, lambda: False) is not None

    play(tmp_path, scene)
