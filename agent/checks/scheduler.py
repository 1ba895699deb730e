"""Keeps a runner, a timer or a follower for each check of the agent, and reaps services that stay critical.

Made by `agent.boot`; follows `LocalState.on_change`, reports with `LocalState.update_check`. The HTTP API reports TTL checks
through `heartbeat`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

import aiohttp
import msgspec
import structlog

from chowk.agent.checks.alias import Caller, alias_outcome, follow_remote
from chowk.agent.checks.http import make_session
from chowk.agent.checks.kinds import make_check
from chowk.agent.checks.outcome import OUTPUT_BYTES_MAX, Outcome, bounded, output_limit
from chowk.agent.checks.runner import Runner
from chowk.agent.checks.ttl import TtlTimer
from chowk.agent.config.model import ChecksConfig
from chowk.agent.local.entries import LocalCheck, unplaced_check
from chowk.agent.local.state import LocalState
from chowk.core.definitions import CheckDefinition
from chowk.core.errors import InvalidRequest, NotFound
from chowk.core.records.check import CRITICAL
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.checks")
RUNS_MAX: Final = 256
"""Runs under way at a time, the others wait; scripts have SCRIPTS_MAX of their own, since each is a process."""

SCRIPTS_MAX: Final = 16
REAP_INTERVAL_S: Final = 30.0


class _Running(msgspec.Struct):
    """What serves one check now."""

    definition: CheckDefinition
    source: str
    type: str
    task: asyncio.Task[None] | None = None
    timer: TtlTimer | None = None
    aliased: tuple[object, ...] = ()
    """What an alias was last computed of."""


class CheckScheduler:
    """`client` is for aliases of other nodes; without it they stay as they are. `veto` says of a service id why it cannot be
    up, whatever answers at its address ("" else): a sidecar whose port another process took.
    """

    def __init__(
        self,
        local: LocalState,
        config: ChecksConfig,
        clock: Clock,
        *,
        client: Caller | None = None,
        rng: Random | None = None,
        veto: Callable[[str], str] = lambda _service_id: "",
    ) -> None:
        self._local = local
        self._veto = veto
        self._config = config
        self._clock = clock
        self._client = client
        self._rng = rng or Random()
        self._tasks = TaskOwner("checks")
        self._wake = asyncio.Event()
        self._runs = asyncio.Semaphore(RUNS_MAX)
        self._scripts = asyncio.Semaphore(SCRIPTS_MAX)
        self._running: dict[str, _Running] = {}
        self._critical_since: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Begin to check."""
        self._session = make_session()
        self._unsubscribe = self._local.on_change(self._wake.set)
        self._follow()
        self._tasks.spawn(self._run(), "follow")
        self._tasks.spawn(self._reap(), "reap")

    async def close(self) -> None:
        """Stop all checks; commands under way are killed."""
        self._unsubscribe()
        await self._tasks.close()
        self._running.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def reload(self, config: ChecksConfig) -> None:
        """Take a new configuration; scripts that it no longer allows end at once."""
        self._config = config
        for check_id in [key for key, entry in self._running.items() if entry.definition.type == "script"]:
            self._end(check_id)
        self._wake.set()

    def heartbeat(self, check_id: str, status: str, output: str) -> None:
        """The application reports its TTL check. NotFound; InvalidRequest when the check is not a TTL check, or the status
        none.
        """
        entry = self._local.checks.get(check_id)
        if entry is not None and not entry.definition.ttl_s:
            raise InvalidRequest(f'CheckID "{check_id}" does not have associated TTL')
        limit = output_limit(entry.definition.output_max_size) if entry is not None else 0
        self._update(check_id, status, bounded(output, limit))
        running = self._running.get(check_id)
        if running is not None and running.timer is not None:
            running.timer.heartbeat()

    def hasten(self, service_id: str) -> None:
        """Something of this service has just come up: run its checks now, not when their turn comes."""
        for entry in self._local.checks_of(service_id):
            check_id = entry.definition.id
            if check_id in self._running and entry.definition.type not in ("ttl", "alias"):
                self._end(check_id)
                self._begin(check_id, entry, at_once=True)

    # --- following the local state

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._follow()

    def _follow(self) -> None:
        for check_id in [key for key in self._running if key not in self._local.checks]:
            self._end(check_id)
        for check_id, entry in list(self._local.checks.items()):
            running = self._running.get(check_id)
            if running is not None and not _same(running, entry):
                self._end(check_id)
                running = None
            if running is None:
                self._begin(check_id, entry)
            else:
                running.definition = entry.definition
        self._note_critical()
        self._update_aliases()

    def _begin(self, check_id: str, entry: LocalCheck, *, at_once: bool = False) -> None:
        definition = entry.definition
        running = _Running(definition=definition, source=entry.source, type=definition.type)
        self._running[check_id] = running
        if definition.type == "ttl":
            running.timer = TtlTimer(definition.ttl_s, self._clock, partial(self._expire, check_id))
            running.task = self._tasks.spawn(running.timer.run(), f"ttl:{check_id}")
        elif definition.type == "alias":
            if self._is_remote(definition) and self._client is not None:
                report = partial(self._report_outcome, check_id)
                following = follow_remote(definition, self._client, self._clock, report)
                running.task = self._tasks.spawn(following, f"alias:{check_id}")
        elif self._session is not None:
            check = make_check(definition, entry.source, self._config, self._session)
            if check is None:
                return
            slots = self._scripts if definition.type in ("script", "os_service") else self._runs
            report_status = partial(self._report, check_id)
            runner = Runner(
                definition, check, report_status, slots, self._clock, self._rng, at_once=at_once, soon=entry.restored
            )
            running.task = self._tasks.spawn(runner.run(), f"{definition.type}:{check_id}")

    def _end(self, check_id: str) -> None:
        running = self._running.pop(check_id, None)
        if running is not None and running.task is not None:
            running.task.cancel()

    def _is_remote(self, definition: CheckDefinition) -> bool:
        return bool(definition.alias_node) and definition.alias_node.lower() != self._local.node.node.lower()

    def _update_aliases(self) -> None:
        """Each change of the local state computes anew the local aliases of what changed; their own changes lead here again
        until all rest. Two aliases of each other rest too: their bounded outputs cannot grow for ever.
        """
        of_node = [entry.check for entry in self._local.checks_of("")]
        for check_id, running in list(self._running.items()):
            definition = running.definition
            if running.type != "alias" or self._is_remote(definition):
                continue
            service_id = definition.alias_service
            checks = [*of_node, *(entry.check for entry in self._local.checks_of(service_id) if service_id)]
            found = not service_id or service_id in self._local.services
            own, veto = self._local.checks.get(check_id), self._veto(definition.service_id)
            aliased = (*checks, found, self._local.node.node, own, veto)
            if aliased != running.aliased:
                running.aliased = aliased
                outcome = alias_outcome(checks, check_id, service_id, found, self._local.node.node)
                self._report_outcome(check_id, outcome)

    # --- reporting

    def _report_outcome(self, check_id: str, outcome: Outcome) -> None:
        self._report(check_id, outcome.status, bounded(outcome.output, OUTPUT_BYTES_MAX))

    def _report(self, check_id: str, status: str, output: str) -> None:
        entry = self._local.checks.get(check_id)
        reason = self._veto(entry.check.service_id) if entry is not None and status != CRITICAL else ""
        if reason:
            status, output = CRITICAL, reason
        try:
            self._update(check_id, status, output)
        except NotFound:
            log.debug("a check ended while it was being run", check=check_id)

    def _expire(self, check_id: str) -> None:
        entry = self._local.checks.get(check_id)
        if entry is None or (entry.check.status == CRITICAL and entry.check.output.startswith("TTL expired")):
            return
        last = entry.check.output
        text = f"TTL expired (last output before timeout follows): {last}" if last else "TTL expired"
        limit = output_limit(entry.definition.output_max_size) + len(text) - len(last)
        log.warning("a check missed its TTL", check=check_id)
        self._report(check_id, CRITICAL, bounded(text, limit))

    def _update(self, check_id: str, status: str, output: str) -> None:
        before = self._local.checks.get(check_id)
        if self._config.discard_check_output:
            output = ""
        elif self._config.output_max_size:
            output = bounded(output, self._config.output_max_size)
        self._local.update_check(check_id, status, output)
        if before is not None and before.check.status != status:
            log.info("check is now", check=check_id, status=status, was=before.check.status)

    # --- reaping

    def _note_critical(self) -> None:
        now = self._clock.now()
        self._critical_since = {
            check_id: self._critical_since.get(check_id, now)
            for check_id, entry in self._local.checks.items()
            if entry.definition.deregister_critical_service_after_s and entry.check.status == CRITICAL
        }

    async def _reap(self) -> None:
        while True:
            await self._clock.sleep(REAP_INTERVAL_S)
            for check_id, since in sorted(self._critical_since.items()):
                entry = self._local.checks.get(check_id)
                if entry is None or not entry.definition.service_id or entry.check.status != CRITICAL:
                    continue
                after_s = entry.definition.deregister_critical_service_after_s
                if after_s and self._clock.now() - since >= after_s:
                    self._deregister(entry.definition.service_id, check_id)

    def _deregister(self, service_id: str, check_id: str) -> None:
        try:
            self._local.deregister_service(service_id)
        except NotFound:
            return
        log.warning("a service was critical for too long; it is deregistered", service=service_id, check=check_id)


def _same(running: _Running, entry: LocalCheck) -> bool:
    if running.definition is entry.definition and running.source == entry.source:
        return True
    return running.source == entry.source and unplaced_check(running.definition) == unplaced_check(entry.definition)
