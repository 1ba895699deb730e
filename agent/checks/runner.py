"""Runs one check again and again: staggered, within its timeout, through its thresholds. Called by the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

import structlog

from chowk.agent.checks.kinds import timeout_of
from chowk.agent.checks.outcome import Check, Outcome, bounded, critical, output_limit
from chowk.agent.checks.thresholds import Thresholds
from chowk.core.definitions import CheckDefinition
from chowk.core.durations import format_duration
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.checks")
INTERVAL_S: Final = 10.0
INTERVAL_S_MIN: Final = 0.1
SOON_S: Final = 2.0
"""A check whose status is one of before a restart runs within this time, however long its interval."""

FRAME_BYTES: Final = 512
"""What our own words around a target's output may add to it."""


class Runner:
    """`report(status, output)` is called after each run that leaves the check in a status. `soon`: the first within SOON_S;
    `at_once`: not staggered.
    """

    def __init__(
        self,
        definition: CheckDefinition,
        check: Check,
        report: Callable[[str, str], None],
        slots: asyncio.Semaphore,
        clock: Clock,
        rng: Random,
        *,
        at_once: bool = False,
        soon: bool = False,
    ) -> None:
        self._definition = definition
        self._check = check
        self._report = report
        self._slots = slots
        self._clock = clock
        self._interval_s = max(definition.interval_s or INTERVAL_S, INTERVAL_S_MIN)
        within_s = min(self._interval_s, SOON_S) if soon else self._interval_s
        self._first_s = 0.0 if at_once else rng.uniform(0.0, within_s)
        self._thresholds = Thresholds(definition)

    async def run(self) -> None:
        """Run for ever; the first time at a random moment of the interval, so that checks never come all at once."""
        await self._clock.sleep(self._first_s)
        while True:
            async with self._slots:
                outcome = await self._look()
            status = self._thresholds.receive(outcome.status)
            if status is not None:
                limit = output_limit(self._definition.output_max_size) + FRAME_BYTES
                self._report(status, bounded(outcome.output, limit))
            await self._clock.sleep(self._interval_s)

    async def _look(self) -> Outcome:
        timeout_s = timeout_of(self._definition)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._check.run()
        except TimeoutError:
            return critical(f"{_target(self._definition)}: timed out after {format_duration(timeout_s)}")
        except Exception as error:  # The outer edge: a target that finds a bug of ours fails its check, and no other.
            log.exception("a check failed in a way nobody foresaw", check=self._definition.id)
            return critical(f"the check itself failed: {type(error).__name__}")


def _target(definition: CheckDefinition) -> str:
    if definition.http:
        return f'{(definition.method or "GET").upper()} "{definition.http}"'
    if definition.args:
        return f"the command {definition.args[0]}"
    return f"{definition.type} {definition.tcp or definition.udp or definition.grpc or definition.h2ping}".strip()
