"""In which order servers are tried: the own one first, the others shuffled, whoever failed last. Pure; used by `link`."""

from __future__ import annotations

from random import Random
from typing import Final

OWN: Final = "own"
"""The name of the server on this host, dialled by its Unix socket."""

OWN_RETRY_S: Final = 1.0
"""A lost own server is not the first choice again before this."""

TROUBLE_S: Final = 10.0
"""Nor one that answered, but could not do its work."""

SERVERS_MAX: Final = 64


class Roster:
    """The servers there are. `has_own`: one of them is on this host."""

    def __init__(self, rng: Random, *, has_own: bool) -> None:
        self._rng = rng
        self._has_own = has_own
        self._own_after_s = float("-inf")
        self._others: list[str] = []

    @property
    def has_choice(self) -> bool:
        """Whether there is more than one."""
        return len(self._others) + self._has_own > 1

    def __contains__(self, address: str) -> bool:
        return address in self._others or (self._has_own and address == OWN)

    def set(self, addresses: tuple[str, ...]) -> None:
        """These are the others, SERVERS_MAX of them at most; who is new gets a random place."""
        known = [address for address in self._others if address in addresses]
        new = sorted(set(addresses) - set(known))
        for address in new:
            known.insert(self._rng.randint(0, len(known)), address)
        self._others = known[:SERVERS_MAX]

    def shuffle(self) -> None:
        """Any order is as good as another."""
        self._rng.shuffle(self._others)

    def order(self, now_s: float) -> tuple[str, ...]:
        """Who to try, best first."""
        if not self._has_own:
            return tuple(self._others)
        return (OWN, *self._others) if now_s >= self._own_after_s else (*self._others, OWN)

    def better(self, current: str, now_s: float) -> tuple[str, ...]:
        """Who would be better than `current`: the own server; where there is none, whoever is first in line."""
        first = self.order(now_s)[:1]
        return first if first != (current,) and (not self._has_own or first == (OWN,)) else ()

    def failed(self, address: str, now_s: float) -> None:
        """`address` was not reached, or was lost."""
        self._put_last(address, now_s + OWN_RETRY_S)

    def troubled(self, address: str, now_s: float) -> None:
        """`address` answers, but says for long that it cannot."""
        self._put_last(address, now_s + TROUBLE_S)

    def _put_last(self, address: str, own_after_s: float) -> None:
        if address == OWN:
            self._own_after_s = max(self._own_after_s, own_after_s)
        elif address in self._others:
            self._others.remove(address)
            self._others.append(address)
