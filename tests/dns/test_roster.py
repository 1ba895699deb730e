from __future__ import annotations

import random
from collections import Counter

import pytest

from chowk.core.records.instance import ServiceInstance
from chowk.core.records.service import Weights
from chowk.dns import roster
from chowk.dns.answer import Entry
from chowk.dns.order import shuffle
from chowk.dns.records import AAAA, ANY, SRV, A, AddressRecord
from chowk.dns.roster import Group, Rosters, Row, row_of
from support.dns_lookup import instance


def rows(*weights: int) -> list[Row]:
    return [
        row_of(instance("web", number, weights=Weights(passing=weight)), is_passing=True)
        for number, weight in enumerate(weights)
    ]


def get(
    rosters: Rosters, instances: tuple[ServiceInstance, ...], tag: str = "", *, only_passing: bool = False
) -> list[str]:
    found = rosters.get("web", tag, instances, connect=False, only_passing=only_passing)
    return [row.instance.service.id for row in found.rows]


def test_health_tag_and_only_passing_say_who_is_shown() -> None:
    instances = (
        instance("web", 1, tags=("Blue",)),
        instance("web", 2, status="warning", tags=("blue", "x")),
        instance("web", 3, status="critical", tags=("blue",)),
        instance("web", 4),
    )
    rosters = Rosters()
    assert get(rosters, instances) == ["web-1", "web-2", "web-4"]
    assert get(rosters, instances, "blue") == ["web-1", "web-2"]
    assert get(Rosters(), instances, only_passing=True) == ["web-1", "web-4"]


def test_a_roster_is_made_once_a_change_and_shows_each_change() -> None:
    rosters = Rosters()
    before = tuple(instance("web", number) for number in range(4))
    first = rosters.get("web", "", before, connect=False, only_passing=False)
    assert rosters.get("web", "", before, connect=False, only_passing=False) is first
    after = (before[0], instance("web", 1, status="critical"), *before[2:], instance("web", 9))
    second = rosters.get("web", "", after, connect=False, only_passing=False)
    assert [row.instance.service.id for row in second.rows] == ["web-0", "web-2", "web-3", "web-9"]
    assert second.rows[0] is first.rows[0]


@pytest.mark.parametrize(("kind", "wanted"), [(A, ["10.0.0.1"]), (AAAA, ["::1"]), (ANY, ["10.0.0.1", "::1"])])
def test_a_group_holds_each_address_of_its_kind_once(kind: int, wanted: list[str]) -> None:
    addresses = ("10.0.0.1", "10.0.0.1", "::1", "db.example.test")
    instances = tuple(instance("web", number + 50, address=text) for number, text in enumerate(addresses))
    found = Rosters().get("web", "", instances, connect=False, only_passing=False)
    assert [row.instance.address for row in found.group(kind).all()] == wanted
    assert len(found.group(SRV)) == 4 - 1  # the same address and port make the same record


def test_a_draw_has_different_rows_and_all_have_the_same_chance_when_they_weigh_the_same() -> None:
    rng = random.Random(1)
    group = Group(rows(*[1] * 20))
    counted: Counter[str] = Counter()
    for _ in range(2000):
        drawn = [row.instance.service.id for row in group.draw(5, rng)]
        assert len(set(drawn)) == 5
        counted.update(drawn)
    assert len(counted) == 20
    assert max(counted.values()) < 1.3 * min(counted.values())
    assert len(group.draw(50, rng)) == 20


def test_draws_follow_the_weights_as_a_weighted_shuffle_does() -> None:
    weights = [1, 1, 2, 4, 8, 0]
    rng = random.Random(2)
    group, turns = Group(rows(*weights)), 4000
    drawn, shuffled = Counter[int](), Counter[int]()
    entries = [Entry((AddressRecord((), number, b""),), weight=weight) for number, weight in enumerate(weights)]
    for _ in range(turns):
        drawn.update(int(row.instance.service.id[4:]) for row in group.draw(2, rng))
        shuffled.update(entry.answers[0].ttl_s for entry in shuffle(entries, rng)[:2])
    assert drawn[5] == 0
    for number in range(5):
        assert abs(drawn[number] - shuffled[number]) < 0.06 * turns


def test_a_draw_ends_where_few_weigh_all() -> None:
    group = Group(rows(*[0] * 99, 5))
    assert [row.instance.service.id for row in group.draw(10, random.Random(3))] == ["web-99"]
    assert len(Group(rows(*[0] * 9)).draw(4, random.Random(3))) == 4
    assert Group([]).draw(4, random.Random(3)) == []


def test_rosters_are_bounded_by_number_and_rows() -> None:
    rosters, few = Rosters(), (instance("web", 1),)
    for number in range(roster.ROSTERS_MAX + 20):
        rosters.get(f"s{number}", "", few, connect=False, only_passing=False)
    assert len(rosters) == roster.ROSTERS_MAX
    many = few * (roster.ROWS_MAX // 2)
    for number in range(3):
        rosters.get(f"large{number}", "", many, connect=False, only_passing=False)
    assert len(rosters) == 2
    rosters.clear()
    assert len(rosters) == 0
