"""A mesh without an agent: a CA, a control socket that plays the agent, and a launcher, for tests and benches of proxies."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from chowk.connect.ca.certificates import Authority, make_root, root_record
from chowk.connect.ca.keys import make_key
from chowk.connect.control import ATTACH, REPORT, SIGN_LEAF, Attach, Instruction, Report, SignedLeaf, SignLeaf
from chowk.connect.snapshot import (
    Cluster,
    Endpoint,
    HttpRoute,
    InboundSnapshot,
    ProxySnapshot,
    SpiffeService,
    Split,
    Target,
    UpstreamSnapshot,
)
from chowk.core.errors import Unavailable
from chowk.core.records.ca import CARoots
from chowk.core.requests import Empty
from chowk.core.runtime.rpc.endpoints import Endpoints, Peer
from chowk.core.runtime.rpc.listener import RpcListener

CLUSTER = "11111111-2222-3333-4444-555555555555"


class MeshCA:
    """A root and what it signs."""

    def __init__(self, cluster: str = CLUSTER, *, ttl_s: float = 3600.0) -> None:
        self.key = make_key()
        self.certificate = make_root(self.key, cluster, time.time() - 86400, 10 * 365 * 86400)
        self.authority = Authority(self.certificate, self.key)
        self.domain = f"{cluster}.consul"
        self.ttl_s = ttl_s
        record = root_record(self.certificate, active=True)
        self.roots = CARoots(active_root_id=record.id, trust_domain=self.domain, roots=(record,))

    def identity(self, service: str) -> SpiffeService:
        return SpiffeService(trust_domain=self.domain, datacenter="dc1", service=service)


class FakeAgent:
    """Serves the control socket: hands out `snapshots` by proxy id, signs leaves, keeps reports."""

    def __init__(self, path: Path, ca: MeshCA) -> None:
        self.path = path
        self.ca = ca
        self.snapshots: dict[str, ProxySnapshot] = {}
        self.stops: dict[str, str] = {}
        self.attached: list[Attach] = []
        self.reports: dict[str, Report] = {}
        self.signed: list[str] = []
        self.signs = True
        self._version = 0
        self._wake = asyncio.Event()
        endpoints = Endpoints()
        endpoints.serve_stream(ATTACH, self._attach)
        endpoints.serve(SIGN_LEAF, self._sign)
        endpoints.serve(REPORT, self._report)
        self._listener = RpcListener(path, endpoints)

    async def start(self) -> None:
        await self._listener.start()

    async def close(self) -> None:
        await self._listener.close()

    def publish(self, snapshot: ProxySnapshot) -> None:
        self._version += 1
        self.snapshots[snapshot.proxy_id] = msgspec.structs.replace(snapshot, version=self._version)
        self._turn()

    def stop(self, proxy_id: str, reason: str = "test") -> None:
        self.stops[proxy_id] = reason
        self._turn()

    def _turn(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    async def _attach(self, attach: Attach, peer: Peer) -> AsyncIterator[Instruction]:
        self.attached.append(attach)
        sent = 0
        while True:
            wake = self._wake
            if attach.proxy_id in self.stops:
                yield Instruction(stop=True, reason=self.stops[attach.proxy_id])
                return
            snapshot = self.snapshots.get(attach.proxy_id)
            if snapshot is not None and snapshot.version > sent:
                sent = snapshot.version
                yield Instruction(snapshot=snapshot)
                continue
            await wake.wait()

    async def _sign(self, request: SignLeaf, peer: Peer) -> SignedLeaf:
        if not self.signs:
            raise Unavailable("no leader")
        service = self.snapshots[request.proxy_id].service
        self.signed.append(request.proxy_id)
        leaf = self.ca.authority.sign_leaf(self.ca.identity(service), request.csr_pem, time.time(), self.ca.ttl_s)
        return SignedLeaf(leaf=leaf)

    async def _report(self, report: Report, peer: Peer) -> Empty:
        self.reports[report.proxy_id] = report
        return Empty()


def server_snapshot(ca: MeshCA, service: str, public_port: int, app_port: int, **more: object) -> ProxySnapshot:
    """A sidecar with a public listener only."""
    inbound = InboundSnapshot(bind_address="127.0.0.1", bind_port=public_port, local_port=app_port)
    fields: dict[str, object] = {"inbound": inbound} | more
    return ProxySnapshot(
        proxy_id=f"{service}-proxy", service=service, node="n1", datacenter="dc1", version=1, roots=ca.roots, **fields
    )


def client_snapshot(
    ca: MeshCA, service: str, upstream: str, bind_port: int, ports: list[int], **more: object
) -> ProxySnapshot:
    """A sidecar with one upstream whose instances listen on `ports`."""
    endpoints = tuple(
        Endpoint(key=f"n1/{upstream}-{number}", address="127.0.0.1", port=port) for number, port in enumerate(ports)
    )
    target = Target(
        id=upstream, service=upstream, datacenter="dc1", spiffe_id=str(ca.identity(upstream)), endpoints=endpoints
    )
    one = UpstreamSnapshot(
        name=upstream,
        bind_port=bind_port,
        routes=(HttpRoute(name="default", splits=(Split(cluster=upstream),)),),
        clusters={upstream: Cluster(name=upstream, targets=(upstream,))},
        **more,
    )
    return ProxySnapshot(
        proxy_id=f"{service}-proxy",
        service=service,
        node="n1",
        datacenter="dc1",
        version=1,
        roots=ca.roots,
        inbound=None,
        upstreams=(one,),
        targets={upstream: target},
    )


def start_launcher(folder: Path, *, exit_with_parent: bool, log_level: str = "info") -> subprocess.Popen[bytes]:
    """A launcher process whose sockets are in `folder`; its stdin stays open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chowk.connect.proxy.launcher"], stdin=subprocess.PIPE, start_new_session=True
    )
    options = {
        "control_socket": str(folder / "proxies.sock"),
        "launcher_socket": str(folder / "launcher.sock"),
        "log_level": log_level,
        "log_json": False,
        "exit_with_parent": exit_with_parent,
    }
    process.stdin.write(json.dumps(options).encode() + b"\n")
    process.stdin.flush()
    return process


async def until(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
    """Wait for a condition that another process or task brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(0.005)
