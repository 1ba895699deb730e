"""Who of a service may be shown, ready to draw from, so that an answer of a large service touches only what it shows.

A roster is made once a change of the view and question (service and tag, or prepared query), from the rows of the one
before it where instances are the same objects. Drawing costs by what is drawn, not by what there is. A pure core, called by
`answer`.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from itertools import accumulate
from typing import NamedTuple

from chowk.core.query_index import picker
from chowk.core.records.check import PASSING, WARNING
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.prepared_query import QueryService
from chowk.dns.records import AAAA, ANY, SRV, A, Name, lower, name_of

ROSTERS_MAX = 512
ROWS_MAX = 50_000
"""Rows that all rosters hold together; the roster that was used longest ago goes first, the last one made stays."""

_PACKED_MAX = 16_384
_DRAWS_MAX = 4  # draws for each one wanted, after which weights are too unequal to go on drawing


class Row(NamedTuple):
    """One instance that may be shown; `packed` is its address, b"" when that is a host name."""

    instance: ServiceInstance
    weight: int
    packed: bytes


Judge = Callable[[ServiceInstance], Row | None]


class Group:
    """The rows that a type of question chooses from, no two of which would give the same record."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)
        weights = [row.weight for row in self._rows]
        self._even = len(set(weights)) < 2
        self._bounds = [] if self._even else list(accumulate(weights))

    def __len__(self) -> int:
        return len(self._rows)

    def all(self) -> list[Row]:
        """Every row, by node and service id."""
        return self._rows

    def draw(self, count: int, rng: random.Random) -> list[Row]:
        """`count` different rows in a random order, heavier ones earlier and more often: each draw is by weight among
        those not yet drawn, which is the distribution of `order.shuffle`. Fewer where few weigh much more than the rest.
        """
        if self._even:
            return rng.sample(self._rows, min(count, len(self._rows)))
        found: dict[int, None] = {}
        for _ in range(count * _DRAWS_MAX):
            found[bisect(self._bounds, rng.random() * self._bounds[-1], hi=len(self._rows) - 1)] = None
            if len(found) == count:
                break
        return [self._rows[position] for position in found]


class Shown:
    """The instances that an answer chooses from, in their order, and for each type of question its group of them.

    `aliases` are the host names of those that have no address.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        self.has_addresses = any(row.packed for row in self.rows)
        names = {name_of(row.instance.address) for row in self.rows if not row.packed}
        self.aliases = sorted(name for name in names if name)
        self._groups: dict[int, Group] = {}

    def at_nodes(self, name: Name) -> Shown:
        """The same, but that who gives the very name that is asked for as its address is found at its node's: the alias
        would lead round in a circle."""
        asked = lower(name)
        if all(lower(alias) != asked for alias in self.aliases):
            return self
        return Shown(
            row
            if row.packed or lower(name_of(row.instance.address)) != asked
            else row._replace(packed=pack_address(row.instance.node.address))
            for row in self.rows
        )

    def group(self, kind: int) -> Group:
        """Those that a question of type SRV, A, AAAA or ANY is about."""
        found = self._groups.get(kind)
        if found is None:
            found = self._groups[kind] = Group(_distinct(self.rows, kind))
        return found


class ByTag(NamedTuple):
    """Shown by health, `only_passing` and the tag, "" for any."""

    tag: str
    only_passing: bool
    near: str = ""

    def judge(self) -> Judge:
        """The function of an instance that this is."""
        return lambda item: _row(item, self.tag, self.only_passing)


class ByQuery(NamedTuple):
    """Shown by a prepared query's own rules, those of the node `near` first."""

    service: QueryService
    near: str

    def judge(self) -> Judge:
        """The function of an instance that this is."""
        is_picked = picker(self.service)
        return lambda item: row_of(item, is_passing=item.status == PASSING) if is_picked(item) else None


class Roster(Shown):
    """The instances of one service at one moment that a rule lets be shown; `is_near`: the first is of the node wanted."""

    def __init__(self, instances: tuple[ServiceInstance, ...], rule: ByTag | ByQuery, before: Roster | None) -> None:
        self.instances = instances
        self.rule = rule
        known = before.by_identity if before is not None and before.rule == rule else {}
        judge = rule.judge()
        # The old roster holds the instances that its ids are of, so an id cannot be another's meanwhile.
        self.by_identity: dict[int, Row | None] = {
            id(item): known[id(item)] if id(item) in known else judge(item) for item in instances
        }
        rows = [row for row in self.by_identity.values() if row is not None]
        near = rule.near.lower()
        if near:
            rows.sort(key=lambda row: row.instance.node.node.lower() != near)
        self.is_near = bool(near and rows) and rows[0].instance.node.node.lower() == near
        super().__init__(rows)


class Rosters:
    """The rosters in use, bounded by ROSTERS_MAX and ROWS_MAX. Cleared when `only_passing` may have changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], Roster] = OrderedDict()
        self._rows = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(
        self, service: str, tag: str, instances: tuple[ServiceInstance, ...], *, connect: bool, only_passing: bool
    ) -> Roster:
        """The roster of these instances: the one at hand when it is of this very tuple."""
        return self._get(("connect" if connect else "health", service, tag), ByTag(tag, only_passing), instances)

    def pick(self, query: str, service: QueryService, near: str, instances: tuple[ServiceInstance, ...]) -> Roster:
        """As `get`, of those that the prepared query which was asked by this name picks."""
        return self._get(("query", query), ByQuery(service, near), instances)

    def _get(self, key: tuple[str, ...], rule: ByTag | ByQuery, instances: tuple[ServiceInstance, ...]) -> Roster:
        before = self._kept.get(key)
        if before is not None and before.instances is instances and before.rule == rule:
            self._kept.move_to_end(key)
            return before
        roster = Roster(instances, rule, before)
        self._drop(key)
        self._kept[key] = roster
        self._rows += len(instances)
        while len(self._kept) > 1 and (len(self._kept) > ROSTERS_MAX or self._rows > ROWS_MAX):
            self._drop(next(iter(self._kept)))
        return roster

    def clear(self) -> None:
        """Forget all: the settings changed."""
        self._kept.clear()
        self._rows = 0

    def _drop(self, key: tuple[str, ...]) -> None:
        roster = self._kept.pop(key, None)
        self._rows -= len(roster.instances) if roster is not None else 0


@lru_cache(maxsize=_PACKED_MAX)
def pack_address(text: str) -> bytes:
    """The 4 or 16 bytes of an IP address; b"" when the text is none (a host name, or nothing)."""
    try:
        return ip_address(text).packed
    except ValueError:
        return b""


def is_of_kind(packed: bytes, kind: int) -> bool:
    """Would a question of type `kind` be answered with this address?"""
    return kind == ANY or (len(packed) == 4 and kind == A) or (len(packed) == 16 and kind == AAAA)


def row_of(item: ServiceInstance, *, is_passing: bool) -> Row:
    """An instance to be shown, with the weight of its status."""
    weights = item.service.weights
    weight = weights.passing if is_passing else weights.warning
    return Row(item, max(0, min(weight, 0xFFFF)), pack_address(item.address))


def _row(item: ServiceInstance, tag: str, only_passing: bool) -> Row | None:
    """The row of an instance; None when it is not to be shown."""
    if tag and not any(tag == own.lower() for own in item.service.tags):
        return None
    status = item.status
    if status == PASSING or (status == WARNING and not only_passing):
        return row_of(item, is_passing=status == PASSING)
    return None


def _distinct(rows: list[Row], kind: int) -> Iterable[Row]:
    if kind != SRV:
        return {row.packed: row for row in rows if row.packed and is_of_kind(row.packed, kind)}.values()
    return {
        (row.packed or item.address, item.service.port, not item.service.address and item.node.node): row
        for row in rows
        if 0 <= (item := row.instance).service.port <= 0xFFFF and item.address
    }.values()
