"""Getting into the cluster: joining once, trying again until it works, and saying for each address why it did not.

Owned by `driver`, which does one exchange at a time for it. What is asked for in words (`start_join`, `join`) must succeed;
what is remembered of the last run or configured as `retry_join` is tried until it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

import structlog

from chowk.agent.gossip.addresses import parse_address, resolve, show_address
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

    def __init__(self, reasons: Sequence[tuple[str, str]], refused: bool) -> None:
        shown = [f"{address}: {reason}" for address, reason in reasons[:SHOWN_MAX]]
        if len(reasons) > SHOWN_MAX:
            shown.append(f"and {len(reasons) - SHOWN_MAX} more")
        super().__init__("; ".join(shown) or "no address to join was given")
        self.refused = refused


JoinOne = Callable[[Address], Awaitable[tuple[str, bool]]]
"""Joins one: why it failed ("" when it did not), and whether that was a refusal which trying again cannot mend."""


class Joining:
    """`own` says whether an address is this agent's: joining oneself is no success and no failure."""

    def __init__(self, join_one: JoinOne, own: Callable[[Address], bool], clock: Clock, rng: Random) -> None:
        self._join_one = join_one
        self._own = own
        self._clock = clock
        self._rng = rng

    async def join(self, texts: Sequence[str]) -> int:
        """How many answered. JoinFailed when none did; InvalidRequest when one is no address."""
        wanted = {text: parse_address(text) for text in texts}
        slots = asyncio.Semaphore(JOINS_MAX)
        reasons: list[tuple[str, str]] = []
        refused = []
        joined = 0

        async def try_one(text: str, address: Address) -> int:
            async with slots:
                reason, is_refusal = await self._join_one(address)
            if not reason:
                return 1
            reasons.append((_named(text, address), reason))
            refused.append(is_refusal)
            return 0

        async def try_all(text: str, address: Address) -> int:
            try:
                found = await resolve(address)
            except OSError as error:
                reasons.append((text, f"the name cannot be resolved: {error.strerror or type(error).__name__}"))
                return 0
            own = [each for each in found if self._own(each)]
            if own and len(own) == len(found):
                return 1 if len(wanted) == 1 else 0
            return sum(await asyncio.gather(*(try_one(text, each) for each in found if not self._own(each))))

        joined = sum(await asyncio.gather(*(try_all(text, address) for text, address in wanted.items())))
        if not joined:
            raise JoinFailed(sorted(reasons), any(refused))
        return joined

    async def keep_trying(
        self, configured: Sequence[str], remembered: Sequence[Address], interval_s: float, tries_max: int
    ) -> None:
        """Return once a round succeeded. JoinFailed after `tries_max` rounds (0: never), or when we stay refused."""
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
            pause_s = min(pause_s * 2, interval_s)


def _named(text: str, address: Address) -> str:
    figures = show_address(address)
    return text if figures.startswith(text) or text == figures else f"{text} ({figures})"
