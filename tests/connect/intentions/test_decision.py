"""Which intention decides, and what is said about it."""

from __future__ import annotations

from itertools import permutations

import pytest

from chowk.connect.intentions.decision import decide
from chowk.connect.intentions.flat import flatten, in_order, intention_id
from chowk.core.records.config_entry import HttpPermission, Permission, ServiceIntentions, SourceIntention
from chowk.core.records.intention import Intention


def intention(source: str, destination: str, action: str = "allow", **more: object) -> Intention:
    entry = ServiceIntentions(name=destination, sources=(SourceIntention(name=source, action=action, **more),))  # type: ignore[arg-type]
    return flatten(entry)[0]


def test_the_highest_precedence_decides_alone_in_whatever_order_they_come() -> None:
    rules = (
        intention("web", "db", "deny"),
        intention("*", "db", "allow"),
        intention("web", "*", "allow"),
        intention("*", "*", "allow"),
    )
    for order in permutations(rules):
        decision = decide(order, "web", "db", True)
        assert (decision.allowed, decision.intention) == (False, rules[0])
        assert decide(order, "api", "db", False).intention == rules[1]
        assert decide(order, "web", "cache", False).intention == rules[2]
        assert decide(order, "api", "cache", False).intention == rules[3]


@pytest.mark.parametrize("default_allow", [True, False])
def test_without_a_match_the_default_decides_and_says_so(default_allow: bool) -> None:
    decision = decide((intention("web", "db"),), "web", "cache", default_allow)
    assert decision.allowed is default_allow
    assert decision.intention is None
    assert "No intention matches web => cache" in decision.reason


def test_permissions_deny_a_tcp_connection_even_when_they_allow_and_the_default_allows() -> None:
    allow_all = Permission(action="allow", http=HttpPermission(path_prefix="/"))
    decision = decide((intention("web", "db", "", permissions=(allow_all,)),), "web", "db", True)
    assert not decision.allowed
    assert "L7" in decision.reason


def test_names_are_compared_with_case_and_as_a_whole() -> None:
    rules = (intention("web", "db"),)
    assert not decide(rules, "Web", "db", False).allowed
    assert not decide(rules, "web2", "db", False).allowed
    assert not decide(rules, "web", "db2", False).allowed


def test_an_intention_that_says_nothing_denies() -> None:
    assert not decide((intention("web", "db", ""),), "web", "db", True).allowed


def test_order_is_by_precedence_then_destination_then_source() -> None:
    rules = [intention("b", "x"), intention("*", "a"), intention("a", "x"), intention("z", "a"), intention("*", "*")]
    pairs = [(each.source_name, each.destination_name) for each in in_order(rules)]
    assert pairs == [("z", "a"), ("a", "x"), ("b", "x"), ("*", "a"), ("*", "*")]


def test_ids_are_stable_and_differ_by_pair() -> None:
    assert intention("web", "db").id == intention("web", "db").id
    assert intention_id("a", "bc") != intention_id("ab", "c")
    assert intention("web", "db", legacy_id="given").id == "given"
