"""The filter language: what it selects, what it refuses and where, and that nothing makes it slow or crash."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chowk.core.filter.expression import compile_filter
from chowk.core.filter.parser import parse
from chowk.core.filter.syntax import CHARACTERS_MAX, DEPTH_MAX, TERMS_MAX, FilterError
from chowk.core.records.check import HealthCheck
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService

INSTANCE = ServiceInstance(
    node=Node(node="n1", address="10.0.0.1", meta={"a b": "x", "rack": "7"}),
    service=NodeService(
        id="web-1", service="web", tags=("v1", "primary"), meta={"k": "1", "k-2": "z", "empty": ""}, port=80
    ),
    checks=(HealthCheck(node="n1", check_id="c", status="passing"),),
)


def keeps(text: str) -> bool:
    return compile_filter(text, ServiceInstance)(INSTANCE)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", True),
        ("Service.Port == 80", True),
        ('Service.Port == "80"', True),
        ("Service.Port != 80", False),
        ('Service.Meta["k"] == "1"', True),
        ("Service.Meta.k == 1", True),
        ("Service.Meta.k-2 == z", True),
        ('Node.Meta["a b"] == `x`', True),
        ('Service.Meta["empty"] is empty', True),
        ("Service.Meta.missing is empty", True),
        ("Service.Meta.missing == 1", False),
        ("Service.Meta.missing != 1", True),
        ("Service.Meta.missing matches `.*`", False),
        ("Service.Meta.missing not matches `.*`", True),
        ("Service.Meta.missing is not empty", False),
        ('"v1" in Service.Tags', True),
        ("v1 in Service.Tags", True),
        ("v2 in Service.Tags", False),
        ("v2 not in Service.Tags", True),
        ('Service.Tags contains "primary"', True),
        ("Service.Tags not contains primary", False),
        ("k in Service.Meta", True),
        ("q not in Service.Meta", True),
        ("eb in Service.Service", True),
        ("Service.Tags is empty", False),
        ("Service.Tags is not empty", True),
        ("Checks is not empty", True),
        ("Service.Service matches `^w.b$`", True),
        ("Service.Service not matches `^x`", True),
        ("Service.Service matches e", True),
        ("Node.Address == 10.0.0.1", True),
        ("Service.EnableTagOverride == false", True),
        ("Service.Connect.Native == false", True),
        ("Service.Connect.Native == true", False),
        ("Service.Weights.Passing == 1", True),
        ("not Service.Port == 80", False),
        ("not not Service.Port == 80", True),
        ("Service.Port == 1 or Service.Port == 80 and Node.Node == n1", True),
        ("(Service.Port == 1 or Service.Port == 80) and Node.Node == n2", False),
        ("Service.Port == 80 AND NOT Node.Node == n2", True),
        ('  Service.ID\n==\t"web-1"  ', True),
        ('Service.ID == "web\\u002d1"', True),
        ("Service.Service == web.example", False),
    ],
)
def test_an_expression_keeps_what_it_describes(text: str, kept: bool) -> None:
    assert keeps(text) is kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Service.Nmae == 1", 'Selector "Service.Nmae" is not valid (at character 1)'),
        ("Node.Node == n1 and Nope == 1", 'Selector "Nope" is not valid (at character 21)'),
        ("Checks.Status == passing", 'Selector "Checks.Status" is not valid'),
        ("Service.Port.x == 1", "is not valid"),
        ("Service.Port == abc", '"abc" is not a value of the selector "Service.Port"'),
        ("Service.EnableTagOverride == maybe", '"maybe" is not a value'),
        ("Service.Tags == x", '"==" cannot be asked'),
        ("Service == x", '"==" cannot be asked'),
        ("Service.Port matches 8", '"matches" cannot be asked'),
        ("Service.Port contains 8", '"contains" cannot be asked'),
        ("Service.Port is empty", '"is empty" cannot be asked'),
        ("Service.ID matches `(`", "not a regular expression"),
        ("Service.ID matches `(?=a)`", "not a regular expression"),
        ("Service.ID matches `" + "a" * 513 + "`", "longer than 512"),
        (" or ".join(["Service.ID not matches `a`"] * 17), "more than 16 regular expressions"),
        ("Service.Port == 80 or", "unexpected the end of the expression"),
        ("(Service.Port == 80", "expected ) (at character 20)"),
        ("Service.Port == 80)", 'unexpected ")"'),
        ("Service.Port = 80", 'unexpected "=" (at character 14)'),
        ("Service..ID == 1", "expected a name after the dot (at character 9)"),
        ('Service.Meta["k] == 1', "at character 14"),
        ("Service.Meta[k] == 1", "expected a quoted key"),
        ('"a" == Service.ID', "expected in or not in"),
        ('"a"', "expected in or not in"),
        ("and", "expected a selector or a value"),
        ('Service.ID == "\\q"', "not a quoted value"),
        ("Service.Port==80and Node.Node==n1", 'unexpected "Node"'),
        ("\0", "unexpected"),
    ],
)
def test_a_wrong_expression_is_refused_with_what_and_where(text: str, reason: str) -> None:
    with pytest.raises(FilterError) as caught:
        keeps(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a" * (CHARACTERS_MAX + 1),
        "(" * (DEPTH_MAX + 1) + "a==1" + ")" * (DEPTH_MAX + 1),
        "not " * (DEPTH_MAX + 1) + "a==1",
        " or ".join(["a==1"] * (TERMS_MAX + 1)),
    ],
    ids=["long", "deep", "negated", "many"],
)
def test_size_is_bounded(text: str) -> None:
    with pytest.raises(FilterError, match=r"longer than|nested deeper than|more than"):
        parse(text)


def test_a_pattern_that_would_backtrack_for_ever_takes_no_time() -> None:
    instance = ServiceInstance(
        node=Node(node="n", address="a"), service=NodeService(id="i", service="a" * 20_000 + "b")
    )
    start = time.perf_counter()
    assert compile_filter("Service.Service matches `^(a+)+$`", ServiceInstance)(instance) is False
    assert time.perf_counter() - start < 2


WORDS = st.sampled_from(
    ["Service", "Node", ".", "Meta", "Tags", "[", "]", '"k"', "==", "!=", "in", "not", "and", "or", "is", "empty", "(", ")",
     "contains", "matches", "80", "`a`", "Port", "v1", '"', "\\", "é", "\n", "-"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    with suppress(FilterError):
        assert keeps(text) in (True, False)
