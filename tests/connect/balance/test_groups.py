"""connect.balance.groups: the order of failing over, and how much spills."""

import pytest

from chowk.connect.balance.groups import OVERPROVISION, ordered, shares
from chowk.connect.snapshot import Locality
from support.balance_rig import endpoint, target

EU_A = Locality(region="eu", zone="a", prefer_near=True)
EVERY = (
    endpoint("us", region="us", zone="a"),
    endpoint("eu-b", region="eu", zone="b"),
    endpoint("eu-a", region="eu", zone="a"),
    endpoint("nowhere"),
)


def names(*targets, ids=None, locality=EU_A):
    by_id = {each.id: each for each in targets}
    return [[endpoint.key for _, endpoint in group] for group in ordered(ids or by_id, by_id, locality)]


def test_the_own_zone_comes_first_then_the_region_then_others():
    assert names(target("t", *EVERY)) == [["eu-a"], ["eu-b", "nowhere"], ["us"]]


def test_without_a_preference_all_are_alike():
    assert names(target("t", *EVERY), locality=Locality(region="eu", zone="a")) == [["us", "eu-b", "eu-a", "nowhere"]]


def test_a_proxy_that_names_no_zone_prefers_its_region():
    assert names(target("t", *EVERY), locality=Locality(region="eu", prefer_near=True)) == [
        ["eu-b", "eu-a", "nowhere"],
        ["us"],
    ]


def test_the_same_zone_name_in_another_region_is_far():
    assert names(target("t", endpoint("us-a", region="us", zone="a"), endpoint("eu-b", region="eu", zone="b"))) == [
        ["eu-b"],
        ["us-a"],
    ]


def test_targets_come_in_the_order_of_failing_over_each_with_its_near_ones_first():
    one = target("one", endpoint("1-us", region="us"), endpoint("1-eu", region="eu", zone="a"))
    two = target("two", endpoint("2-eu", region="eu", zone="a"))
    assert names(one, two) == [["1-eu"], ["1-us"], ["2-eu"]]
    assert names(one, two, ids=["two", "gone", "one"]) == [["2-eu"], ["1-eu"], ["1-us"]]


@pytest.mark.parametrize("prefer", [True, False])
def test_no_endpoint_outside_the_allowed_regions_is_ever_used(prefer):
    found = names(
        target("t", *EVERY, endpoint("asia", region="asia")),
        locality=Locality(region="eu", zone="a", prefer_near=prefer, allowed_regions=("asia",)),
    )
    assert sorted(key for group in found for key in group) == ["asia", "eu-a", "eu-b", "nowhere"]


def test_a_proxy_that_does_not_know_its_region_uses_only_what_is_allowed_or_unnamed():
    assert names(target("t", *EVERY), locality=Locality(allowed_regions=("eu",))) == [["eu-b", "eu-a", "nowhere"]]


def test_a_group_carries_all_until_less_is_left_than_it_is_built_for():
    assert shares([(10, 10), (10, 10)]) == ([1.0, 0.0], False)
    assert shares([(8, 10), (10, 10)]) == ([1.0, 0.0], False)


def test_beyond_that_the_rest_spills_so_that_survivors_get_no_more_than_they_are_built_for():
    found, panics = shares([(5, 10), (10, 10)])
    assert found == pytest.approx([0.7, 0.3])
    assert not panics
    for usable in range(1, 11):
        part, _ = shares([(usable, 10), (10, 10)])
        assert part[0] / usable * 10 <= OVERPROVISION + 1e-9


def test_what_all_together_cannot_carry_is_shared_as_they_can():
    found, panics = shares([(2, 10), (3, 10)])
    assert found == pytest.approx([0.4, 0.6])
    assert not panics


def test_when_nearly_everything_is_ejected_it_is_a_panic():
    assert shares([(1, 10), (1, 10)]) == ([1.0, 0.0], True)
    assert shares([(0, 3)]) == ([1.0], True)
