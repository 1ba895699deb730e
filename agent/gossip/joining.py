"""Getting into the cluster: joining once, trying again until it works, and saying for each address why it did not.

Owned by `driver`, which does one exchange at a time for it. What is asked for in words (`start_join`, `join`) must succeed;
what is remembered of the last run or configured as `retry_join` is tried until it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, NamedTuple

import structlog

from chowk.agent.gossip.addresses import PORT, parse_address, resolve, show_address
from chowk.agent.gossip.effects import Address
from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock

log = structlog.get_logger("chowk.gossip")

JOINS_MAX: Final = 16
"""Addresses tried at the same time."""

REMEMBERED_TRIED: Final = 16
"""Of the members of the last run, this many are tried in one round."""

RETRY_FIRST_S: Final = 1.0
"""The first pause between rounds that may go on for ever; it doubles up to `retry_interval`."""

REFUSALS_MAX: Final = 12
REFUSED_PAUSE_S: Final = 3.0
"""A refusal may mend itself: who comes back at another address, or wiped, meets its old self until that is seen gone."""

SHOWN_MAX: Final = 8


class JoinFailed(ChowkError):
    """Nobody was joined; the text names each address and why. `refused`: the cluster answered, and does not take us."""

    def __init__(self, text: str, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused

    def within(self, what: str) -> JoinFailed:
        """The same as part of `what` was tried, with what to do about a refusal."""
        advice = "; give this agent its own node_name and data_dir, or stop the other one" if self.refused else ""
        return JoinFailed(f"this agent cannot join the cluster ({what}): {self}{advice}", self.refused)


class Outcome(NamedTuple):
    """How joining one address went: `reason` says why it failed, "" where it did not. `own`: it is this agent itself.
    `refused`: our name or node id is another's."""

    reason: str
    own: bool = False
    refused: bool = False


class Joining:
    """`own(address)` says whether an address is this agent's: joining oneself is no success and no failure. Who is named
    without a port is asked at `usual_port`, that of this agent: hosts of a cluster are set up alike."""

    def __init__(
        self,
        join_one: Callable[[Address], Awaitable[Outcome]],
        own: Callable[[Address], bool],
        clock: Clock,
        rng: Random,
        usual_port: int = PORT,
    ) -> None:
        self._usual_port = usual_port
        self._join_one = join_one
        self._own = own
        self._clock = clock
        self._rng = rng

    async def join(self, texts: Sequence[str]) -> int:
        """How many took us in; 1 where all addresses are our own. JoinFailed when none did; InvalidRequest when one is no
        address."""
        wanted = {text: parse_address(text, self._usual_port) for text in texts}
        slots = asyncio.Semaphore(JOINS_MAX)

        async def try_one(named: str, address: Address) -> tuple[str, Outcome]:
            if self._own(address):
                return named, Outcome("", own=True)
            async with slots:
                return named, await self._join_one(address)

        async def try_all(text: str, address: Address) -> list[tuple[str, Outcome]]:
            try:
                found = await resolve(address)
            except OSError as error:
                return [(text, Outcome(f"the name cannot be resolved: {error.strerror or type(error).__name__}"))]
            return await asyncio.gather(*(try_one(_named(text, each), each) for each in found))

        tried = await asyncio.gather(*(try_all(text, address) for text, address in wanted.items()))
        outcomes = [outcome for one in tried for outcome in one]
        joined = sum(not outcome.own and not outcome.reason for _, outcome in outcomes)
        failed = sorted((named, outcome.reason) for named, outcome in outcomes if outcome.reason and not outcome.own)
        if joined or (outcomes and not failed):
            return joined or 1
        raise JoinFailed(_listed(failed), any(outcome.refused for _, outcome in outcomes))

    async def keep_trying(
        self,
        configured: Sequence[str],
        remembered: Sequence[Address],
        interval_s: float,
        tries_max: int,
        has_company: Callable[[], bool],
    ) -> None:
        """Return once a round succeeded, or with nobody configured once others have found us. JoinFailed after `tries_max`
        rounds (0: never), or when we stay refused."""
        pause_s = interval_s if tries_max else min(RETRY_FIRST_S, interval_s)
        tries = refusals = 0
        while True:
            sample = self._rng.sample(list(remembered), min(REMEMBERED_TRIED, len(remembered)))
            texts = [*configured, *(show_address(address) for address in sample)]
            tries += 1
            try:
                joined = await self.join(list(dict.fromkeys(texts)))
            except JoinFailed as error:
                refusals = refusals + 1 if error.refused else 0
                if refusals >= REFUSALS_MAX or (tries_max and tries >= tries_max):
                    raise
                if error.refused:
                    pause_s = min(REFUSED_PAUSE_S, interval_s)
                log.warning("could not join the cluster; trying again", error=str(error), next_try_s=round(pause_s, 1))
            else:
                log.info("joined the cluster", by=joined)
                return
            await self._clock.sleep(pause_s * self._rng.uniform(0.9, 1.1))
            if not configured and has_company():
                return
            pause_s = min(pause_s * 2, interval_s)


def _listed(failed: Sequence[tuple[str, str]]) -> str:
    shown = [f"{address}: {reason}" for address, reason in failed[:SHOWN_MAX]]
    if len(failed) > SHOWN_MAX:
        shown.append(f"and {len(failed) - SHOWN_MAX} more")
    return "; ".join(shown) or "no address to join was given"


def _named(text: str, address: Address) -> str:
    figures = show_address(address)
    return text if figures.startswith(text) or text == figures else f"{text} ({figures})"
