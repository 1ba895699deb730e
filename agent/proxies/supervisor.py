"""Keeps the sidecars of this host running: one process for each connect-proxy registration that is to be launched.

The truth about what runs is who is attached to the control socket; the launcher is only asked to fork and to tell of
exits. So an agent that was restarted adopts the proxies that attach to it, whoever forked them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from chowk.agent.client.pool import ServerClient
from chowk.agent.config.model import AgentConfig
from chowk.agent.local.state import LocalState
from chowk.agent.proxies.bypasses import HostBypasses
from chowk.agent.proxies.control import ControlService
from chowk.agent.proxies.launching import Launching
from chowk.agent.proxies.mesh_view import MeshView
from chowk.agent.proxies.silence import LOOK_S, Silence
from chowk.agent.proxies.source import SnapshotSource
from chowk.agent.proxies.stored import StoredSnapshots
from chowk.agent.proxies.taps import TapHub
from chowk.agent.proxies.totals import Totals
from chowk.agent.proxies.traffic import Traffic
from chowk.agent.views.views import Views
from chowk.connect.control import Report
from chowk.core.records.service import KIND_CONNECT_PROXY
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.rpc.listener import RpcListener
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxies")
CONTROL_SOCKET = "proxies.sock"
LAUNCHER_SOCKET = "launcher.sock"
ATTACH_WAIT_S = 5.0
"""How long a forked proxy may take to attach before it is launched again."""
ADOPTION_S = 1.5
"""After a restart, how long proxies of before have to attach by themselves; they try each half second."""
DETACH_S = 6.5
"""How long proxies that nobody can kill for us may take to drain when the agent stops."""
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 10.0


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One sidecar as `info` and the demo show it. `state`: running, silent, starting, manual, unlaunched."""

    proxy_id: str
    service: str
    state: str
    pid: int
    starts: int
    report: Report | None


class _Plan:
    """What the supervisor remembers of one proxy that it launches."""

    def __init__(self) -> None:
        self.pid = 0
        self.launched_at = 0.0
        self.not_before = 0.0
        self.backoff = BACKOFF_S_MIN
        self.starts = 0


class ProxySupervisor:
    """Started by boot. `config` is asked at each look, so that a reload is seen; `on_listening` hears of each proxy that
    begins to take connections.
    """

    def __init__(
        self,
        config: Callable[[], AgentConfig],
        local: LocalState,
        views: Views,
        client: ServerClient,
        run_dir: Path,
        stored: StoredSnapshots,
        data_dir: Path | None,
        clock: Clock,
        on_listening: Callable[[str], None] = lambda _proxy_id: None,
    ) -> None:
        self._config = config
        self._local = local
        self.bypasses = HostBypasses(data_dir, clock, allowed=config().connect.allow_bypass)
        self._mesh = MeshView(views, self.bypasses)
        self._stored = stored
        self._clock = clock
        self.control_socket = run_dir / CONTROL_SOCKET
        self._sources: dict[str, SnapshotSource] = {}
        self._plans: dict[str, _Plan] = {}
        self._wake = asyncio.Event()
        self._control = ControlService(
            self, client, config().node_name, self._wake.set, on_listening, clock, self.bypasses
        )
        self._listener = RpcListener(self.control_socket, self._control.endpoints())
        self._launching = Launching(
            control_socket=self.control_socket,
            launcher_socket=run_dir / LAUNCHER_SOCKET,
            log_level=config().log_level,
            log_json=config().log_json,
            exit_with_parent=config().dev,
            leaf_folder=stored.leaf_folder,
            on_exit=self._exited,
            clock=clock,
        )
        self._tasks = TaskOwner("proxies")
        self._silence = Silence()
        self._adopt_until = 0.0
        self._unsubscribe: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Listen for proxies and begin to launch. PortTaken when another agent uses the run folder."""
        restarted = self.control_socket.exists()
        self._adopt_until = self._clock.now() + (ADOPTION_S if restarted else 0.0)
        await self._follow_local()
        self._stored.keep_only(self._sources)
        await self._listener.start()
        self._unsubscribe = self._local.on_change(self._wake.set)
        self._tasks.spawn(self._run(), "supervise")

    async def close(self, *, stop_proxies: bool) -> None:
        """Stop supervising; with `stop_proxies` every launched proxy drains and exits first."""
        self._unsubscribe()
        await self._tasks.close()
        if stop_proxies:
            for attachment in list(self._control.attached.values()):
                attachment.stop("the agent stops")
            await self._launching.stop_all()
            await self._detached()
        await self._launching.close()
        await self._listener.close()
        for source in self._sources.values():
            await source.close()
        self._sources.clear()

    async def _detached(self) -> None:
        """Return when every proxy has gone, also those whose launcher died before, or DETACH_S later."""
        deadline = self._clock.now() + DETACH_S
        while self._control.attached and self._clock.now() < deadline:
            await self._clock.sleep(0.02)

    def source(self, proxy_id: str) -> SnapshotSource | None:
        """The snapshots of a proxy registered here."""
        return self._sources.get(proxy_id)

    def listen_error(self, proxy_id: str) -> str:
        """Why the public listener of a proxy of ours is not up, as it says itself; "" when it is, or nothing is known."""
        attachment = self._control.attached.get(proxy_id)
        report = attachment.report if attachment else None
        return report.inbound_error if report else ""

    @property
    def traffic(self) -> Traffic:
        """What the sidecars of this host carry."""
        return self._control.traffic

    @property
    def totals(self) -> Totals:
        """What they have counted, those that are gone too."""
        return self._control.totals

    @property
    def taps(self) -> TapHub:
        """Who looks at their requests."""
        return self._control.taps

    def status(self) -> tuple[ProxyStatus, ...]:
        """Every sidecar registered here, by id."""
        return tuple(self._status(proxy_id) for proxy_id in sorted(self._sources))

    def _status(self, proxy_id: str) -> ProxyStatus:
        attachment = self._control.attached.get(proxy_id)
        plan = self._plans.get(proxy_id)
        if attachment is not None:
            talks = "manual" if attachment.attach.manual else "running"
            state = "silent" if self._silence.silent(proxy_id) else talks
        else:
            state = "starting" if plan is not None else "unlaunched"
        return ProxyStatus(
            proxy_id=proxy_id,
            service=self._sources[proxy_id].service_name,
            state=state,
            pid=attachment.attach.pid if attachment else (plan.pid if plan else 0),
            starts=plan.starts if plan else 0,
            report=attachment.report if attachment else None,
        )

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._follow_local()
            await self._launch_missing()
            self._end_hung()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _follow_local(self) -> None:
        """One source for each connect-proxy registration; what is gone is stopped."""
        config = self._config()
        default_allow = config.default_intention_policy != "deny"
        registered = {
            service_id: entry.service
            for service_id, entry in self._local.services.items()
            if entry.service.kind == KIND_CONNECT_PROXY
        }
        for proxy_id in [proxy_id for proxy_id in self._sources if proxy_id not in registered]:
            await self._sources.pop(proxy_id).close()
            await self._stop(proxy_id, "its service was deregistered")
            self._stored.forget(proxy_id)
        for proxy_id, service in registered.items():
            source = self._sources.get(proxy_id)
            if source is None:
                source = self._sources[proxy_id] = SnapshotSource(
                    service, self._local.node, self._mesh, self._stored, default_allow, self._clock
                )
                source.start()
            elif source.differs(service, self._local.node, default_allow):
                source.update(service, self._local.node, default_allow)

    async def _launch_missing(self) -> None:
        if self._clock.now() < self._adopt_until:
            return
        for proxy_id in sorted(self._sources):
            attachment = self._control.attached.get(proxy_id)
            if not self._wanted(proxy_id):
                if attachment is None or not attachment.attach.manual:
                    await self._stop(proxy_id, "launching it was turned off")
                continue
            plan = self._plans.setdefault(proxy_id, _Plan())
            if attachment is not None:
                plan.backoff = BACKOFF_S_MIN
                continue
            await self._launch(proxy_id, plan)

    async def _launch(self, proxy_id: str, plan: _Plan) -> None:
        now = self._clock.now()
        attaching = plan.pid and now - plan.launched_at < ATTACH_WAIT_S and _alive(plan.pid)
        if attaching or now < plan.not_before:
            return
        if plan.pid and _alive(plan.pid):
            log.warning("a proxy does not attach; ending it", proxy=proxy_id, pid=plan.pid)
            await self._launching.stop(proxy_id)
        plan.not_before = now + plan.backoff
        plan.backoff = min(plan.backoff * 2, BACKOFF_S_MAX)
        pid = await self._launching.launch(proxy_id)
        if pid:
            plan.pid, plan.launched_at = pid, now
            plan.starts += 1
            log.info("sidecar launched", proxy=proxy_id, pid=pid)

    def _end_hung(self) -> None:
        """Say who is silent. One that stays so serves nobody; it is ended, and launched again as one that died is."""
        attached = self._control.attached
        found = self._silence.look({proxy_id: each.report for proxy_id, each in attached.items()}, self._clock.now())
        for proxy_id in found.silent:
            pid = attached[proxy_id].attach.pid
            log.warning("sidecar is silent: it holds its ports, and serves nobody maybe", proxy=proxy_id, pid=pid)
        for proxy_id in found.back:
            log.info("sidecar speaks again", proxy=proxy_id, pid=attached[proxy_id].attach.pid)
        hung = attached.get(found.hung)
        if hung is not None and not hung.attach.manual:
            log.error("sidecar hangs; killing it", proxy=found.hung, pid=hung.attach.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(hung.attach.pid, signal.SIGKILL)

    def _wanted(self, proxy_id: str) -> bool:
        entry = self._local.services.get(proxy_id)
        if entry is None:
            return False
        launch = entry.definition.launch
        return self._config().connect.launch if launch is None else launch

    async def _stop(self, proxy_id: str, reason: str) -> None:
        plan = self._plans.pop(proxy_id, None)
        attachment = self._control.attached.get(proxy_id)
        if attachment is not None:
            attachment.stop(reason)
            log.info("sidecar stopped", proxy=proxy_id, pid=attachment.attach.pid, reason=reason)
        elif plan is not None and plan.pid:
            await self._launching.stop(proxy_id)

    def _exited(self, proxy_id: str, pid: int, status: int) -> None:
        plan = self._plans.get(proxy_id)
        if plan is None or plan.pid != pid:
            return
        plan.pid = 0
        attachment = self._control.attached.get(proxy_id)
        if status != 0 and (attachment is None or not attachment.attach.manual):
            log.error("sidecar died; launching it again", proxy=proxy_id, pid=pid, status=_describe(status))
        self._wake.set()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _describe(status: int) -> str:
    """A wait status as the launcher reports it: negative is the signal that killed it."""
    return signal.Signals(-status).name if status < 0 else f"exit {status}"
