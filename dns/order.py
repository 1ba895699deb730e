"""The order in which entries are shown. A pure core: the random source is handed in. Called by the wire cache's replies.

With equal weights one shuffle is turned, so that over all turns each instance stands first equally often; with unequal
ones each turn is a fresh weighted shuffle (Efraimidis and Spirakis 2006), so that a client which takes the first
address also follows the weights.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from chowk.dns.answer import Answer, Entry

TURNS_MAX = 16


def turns(entries: Sequence[Entry]) -> int:
    """How many different orders are worth keeping ready."""
    return max(1, min(len(entries), TURNS_MAX))


def turns_of(answer: Answer) -> int:
    """How many replies to keep ready: orders of all entries, or draws where there are more than a reply holds."""
    if answer.left_out:
        return TURNS_MAX
    return 1 if answer.in_order else turns(answer.entries)


def shuffle(entries: Sequence[Entry], rng: random.Random) -> list[Entry]:
    """A weighted random order; entries of weight 0 come last (RFC 2782 gives them a very small chance)."""
    return sorted(entries, key=lambda entry: _draw(entry.weight, rng), reverse=True)


def turn(shuffled: Sequence[Entry], number: int, rng: random.Random) -> list[Entry]:
    """The order of turn `number` (0 … turns - 1) of entries that were shuffled once."""
    if len({entry.weight for entry in shuffled}) > 1:
        return shuffle(shuffled, rng)
    start = number * len(shuffled) // turns(shuffled)
    return [*shuffled[start:], *shuffled[:start]]


def first_order(answer: Answer, rng: random.Random) -> list[Entry]:
    """The entries of an answer, shuffled unless it says that they are in order."""
    return list(answer.entries) if answer.in_order else shuffle(answer.entries, rng)


def cut(entries: list[Entry], limit: int) -> list[Entry]:
    """The first `limit` entries; 0 keeps all."""
    return entries[:limit] if limit > 0 else entries


def _draw(weight: int, rng: random.Random) -> float:
    draw = rng.random()
    return float(draw ** (1.0 / weight)) if weight > 0 else draw - 1.0
