"""One sidecar: acts on snapshots, owns the listeners, reports. The shell around everything of this room; run by `main`."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from chowk.connect.balance.hosts import Host
from chowk.connect.control import LEFT_OUT_MAX, NOT_YET, Instruction, LeftOut, Report, UpstreamStatus
from chowk.connect.proxy.access_log import AccessLog
from chowk.connect.proxy.agent_link import AgentLink
from chowk.connect.proxy.inbound import Inbound
from chowk.connect.proxy.leaf import LeafKeeper
from chowk.connect.proxy.leaf_file import LeafFile, leaf_path
from chowk.connect.proxy.listener import Listener, Place
from chowk.connect.proxy.state import ProxySettings, ProxyState
from chowk.connect.proxy.taps import Taps
from chowk.connect.proxy.upstream import Upstream
from chowk.connect.proxy.verdict import with_host_bypasses
from chowk.connect.snapshot import Bypass, ProxySnapshot, UpstreamSnapshot
from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.proxy")
SWEEPS: Final = 4
"""Looks in an idle timeout: a connection ends after one to one and a quarter of it without bytes."""
REPORT_S_RISING: Final = 0.05
"""While a listener is not up yet the agent hears sooner, so that its check of the sidecar need not wait for its turn."""

LAPSE_LOOK_S: Final = 1.0
_DRAIN_LOOK_S: Final = 0.05


class Proxy:
    """`await run()` returns when it was told to stop and has drained. Its leaf is kept in `leaf_folder`, if there is one."""

    def __init__(
        self,
        proxy_id: str,
        control_socket: Path,
        *,
        manual: bool,
        clock: Clock,
        rng: random.Random,
        settings: ProxySettings | None = None,
        leaf_folder: Path | None = None,
    ) -> None:
        self.state = ProxyState(settings or ProxySettings(), clock, rng)
        self.inbound = Inbound(self.state)
        self.upstreams: dict[tuple[str, str, Place], Upstream] = {}
        self.listeners: dict[Inbound | Upstream, Listener] = {}
        self._agent = AgentLink(
            proxy_id,
            control_socket,
            manual=manual,
            retry_s_max=self.state.settings.reconnect_s_max,
            take=self._take,
            version=lambda: self.state.snapshot.version if self.state.snapshot else 0,
        )
        self._access_log = AccessLog(self.state.observers, clock, rng)
        self._taps = Taps(self.state.observers, clock, self._agent.send_tapped)
        leaf_file = LeafFile(leaf_path(leaf_folder, proxy_id) if leaf_folder is not None else None)
        self._leaf = LeafKeeper(self.state, self._agent.sign, self._changed, leaf_file)
        self._change = asyncio.Event()
        self._stopping = asyncio.Event()
        self._reported: Report | None = None

    async def run(self) -> None:
        """Serve until `stop` or the agent's instruction."""
        tasks = self.state.tasks
        tasks.spawn(self._leaf.run(), "leaf")
        tasks.spawn(self._follow(), "listeners")
        tasks.spawn(self._report(), "report")
        tasks.spawn(self._sweep(), "idle")
        tasks.spawn(self.state.http.run(self.state.clock, self.state.settings.http_look_s), "http idle")
        tasks.spawn(self._access_log.run(), "access log")
        tasks.spawn(self._taps.run(), "taps")
        tasks.spawn(self._lapse(), "bypasses")
        tasks.spawn(self._agent.run(), "agent")
        await self._stopping.wait()
        for listener in self.listeners.values():
            await listener.close()
        await self._drain()
        await tasks.close()
        await self._access_log.flush()

    def stop(self, reason: str) -> None:
        """Accept no more, let what runs end for a bounded time, return from `run`."""
        if not self._stopping.is_set():
            log.info("proxy stops", reason=reason)
            self._stopping.set()

    # --- snapshots

    def _take(self, instruction: Instruction) -> None:
        if instruction.stop:
            self.stop(instruction.reason)
        if instruction.taps is not None:
            self._taps.serve(instruction.taps)
        if instruction.snapshot is not None:
            self._use(instruction.snapshot)
        if instruction.bypasses is not None and self.state.snapshot is not None:
            self._use(with_host_bypasses(self.state.snapshot, instruction.bypasses))

    def _use(self, snapshot: ProxySnapshot) -> None:
        before = self.state.snapshot
        _tell_bypasses(before, snapshot)
        self.state.snapshot = snapshot
        if before is not None:
            ended = self.state.secured_links.end_distrusted(before.roots, snapshot.roots)
            if ended:
                log.warning("connections proven by a root that is trusted no more are cut", count=ended)
        self._access_log.use(snapshot.access_logs)
        self.inbound.follow(snapshot)
        self.state.end_outdated()
        self._leaf.look()
        self._changed()

    def _changed(self) -> None:
        self._change.set()

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            await self._change.wait()
            self._change.clear()
            if self.state.snapshot is not None and self.state.credentials is not None:
                await self._apply(self.state.snapshot)

    async def _apply(self, snapshot: ProxySnapshot) -> None:
        """Listeners whose place did not change are not touched."""
        wanted: dict[Inbound | Upstream, tuple[Place, str]] = {}
        place = self.inbound.place(snapshot)
        if place is not None:
            wanted[self.inbound] = (place, f"public listener of {snapshot.service}")
        for upstream in self._keep_upstreams(snapshot):
            wanted[upstream] = (upstream.place, f"upstream {upstream.snapshot.name} of {snapshot.service}")
        for owner, listener in list(self.listeners.items()):
            if owner not in wanted or wanted[owner][0] != listener.place:
                await listener.close()
                del self.listeners[owner]
        for owner, (place, purpose) in wanted.items():
            if owner not in self.listeners and not self._stopping.is_set():
                listener = self.listeners[owner] = Listener(place, purpose, owner.make_link)
                listener.start()

    def _keep_upstreams(self, snapshot: ProxySnapshot) -> list[Upstream]:
        kept: dict[tuple[str, str, Place], Upstream] = {}
        for each in snapshot.upstreams:
            key = (each.name, each.datacenter, _place(each))
            upstream = self.upstreams.get(key)
            if upstream is None:
                upstream = Upstream(self.state, each, snapshot.targets)
            else:
                upstream.update(each, snapshot.targets)
            kept[key] = upstream
        for key, upstream in self.upstreams.items():
            if key not in kept:
                upstream.retire()
        self.upstreams = kept
        return list(kept.values())

    # --- time

    async def _sweep(self) -> None:
        """Ends what has been idle; one task looks at all connections, so that none needs a timer."""
        while True:
            await self.state.clock.sleep(self.state.settings.idle_timeout_s / SWEEPS)
            for pipe in list(self.state.pipes):
                pipe.quiet_looks = 0 if pipe.active else pipe.quiet_looks + 1
                pipe.active = False
                if pipe.quiet_looks >= SWEEPS:
                    pipe.reset()

    async def _drain(self) -> None:
        """Connections may end by themselves until `drain_s`; those quiet for `drain_quiet_s` are not waited for."""
        settings, clock = self.state.settings, self.state.clock
        end = clock.now() + settings.drain_s
        look = clock.now() + settings.drain_quiet_s
        http = self.state.http
        http.drain()
        for pipe in self.state.pipes:
            pipe.active = False
        while (self.state.pipes or http.served) and clock.now() < end:
            await clock.sleep(_DRAIN_LOOK_S)
            http.look(clock.now())
            if clock.now() >= look:
                look = clock.now() + settings.drain_quiet_s
                for pipe in list(self.state.pipes):
                    if not pipe.active:
                        pipe.reset()
                    pipe.active = False
        for pipe in list(self.state.pipes):
            pipe.reset()
        http.stop()
        await asyncio.sleep(0)

    async def _lapse(self) -> None:
        """When a bypass has ended, who came in by it is judged again, and what was made by outdated certificates ends."""
        over: set[Bypass] = set()
        while True:
            await self.state.clock.sleep(LAPSE_LOOK_S)
            snapshot = self.state.snapshot
            known = set(snapshot.bypasses) if snapshot is not None else set()
            ended = {each for each in known if self.state.clock.wall() >= each.expires_s}
            for each in sorted(ended - over, key=lambda one: one.service):
                log.warning("bypass has lapsed", service=each.service, reason=each.reason, by=each.by)
            if ended - over and snapshot is not None:
                self.inbound.follow(snapshot)
            over = ended
            self.state.end_outdated()

    # --- reports

    async def _report(self) -> None:
        settings, clock = self.state.settings, self.state.clock
        last = 0.0
        while True:
            report = self.describe()
            if report != self._reported or clock.now() - last >= settings.report_s_max:
                try:
                    await self._agent.report(report)
                    self._reported, last = report, clock.now()
                except ChowkError as error:
                    log.debug("report not sent", error=str(error))
            await clock.sleep(settings.report_s if self._up else min(REPORT_S_RISING, settings.report_s))

    @property
    def _up(self) -> bool:
        return bool(self.listeners) and not any(listener.error for listener in self.listeners.values())

    def describe(self) -> Report:
        """The counters now."""
        state, inbound = self.state, self.inbound
        leaf = state.credentials.leaf if state.credentials else None
        listener = self.listeners.get(inbound)
        return Report(
            proxy_id=self._agent.proxy_id,
            instance=self._agent.instance,
            version=state.snapshot.version if state.snapshot else 0,
            leaf_valid_after=_rfc3339(leaf.valid_from_s) if leaf else "",
            leaf_valid_before=_rfc3339(leaf.valid_until_s) if leaf else "",
            inbound_error=listener.error if listener else "",
            inbound_listening=listener is not None and not listener.error,
            inbound_connections_open=inbound.tally.open,
            inbound_connections_total=inbound.tally.total,
            inbound_denied_total=inbound.denied_total + inbound.http.denied_total,
            handshake_failures_total=state.handshake_failures,
            bytes_received_total=inbound.tally.from_mesh_bytes,
            bytes_sent_total=inbound.tally.to_mesh_bytes,
            upstreams=tuple(self._describe(upstream) for upstream in self.upstreams.values()),
            edges=state.edges.totals(),
            peers=state.edges.peer_totals(),
            edges_overflow_total=state.edges.overflow_total,
        )

    def _describe(self, upstream: Upstream) -> UpstreamStatus:
        listener = self.listeners.get(upstream)
        balancers = [cluster.balancer for cluster in upstream.clusters.all()]
        now = self.state.clock.now()
        ejected = [host for balancer in balancers for host in balancer.ejected if host.until > now]
        return UpstreamStatus(
            name=upstream.snapshot.name,
            error=listener.error if listener else NOT_YET,
            connections_open=upstream.tally.open,
            connections_total=upstream.tally.total,
            dial_failures_total=upstream.dial_failures_total,
            bytes_sent_total=upstream.tally.to_mesh_bytes,
            bytes_received_total=upstream.tally.from_mesh_bytes,
            ejected=len(ejected),
            ejections_total=sum(balancer.ejections_total for balancer in balancers),
            left_out=tuple(_left_out(host) for host in ejected[:LEFT_OUT_MAX]),
        )


def _left_out(host: Host) -> LeftOut:
    endpoint = host.endpoint
    return LeftOut(
        service=host.target.service,
        instance=endpoint.key,
        address=endpoint.address,
        port=endpoint.port,
        why=host.why,
    )


def _tell_bypasses(before: ProxySnapshot | None, after: ProxySnapshot) -> None:
    """For those who ask later: each bypass that this proxy honours, and each that was taken back."""
    known, now = set(before.bypasses) if before is not None else set(), set(after.bypasses)
    for what, bypasses in (("bypass in force", now - known), ("bypass taken back", known - now)):
        for each in sorted(bypasses, key=lambda one: one.service):
            log.warning(what, service=each.service, until=_rfc3339(each.expires_s), reason=each.reason, by=each.by)


def _place(upstream: UpstreamSnapshot) -> Place:
    if upstream.bind_socket_path:
        return Place(path=upstream.bind_socket_path, mode=upstream.bind_socket_mode)
    return Place(upstream.bind_address, upstream.bind_port)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
