"""Conditions on requests, one by one."""

from __future__ import annotations

import pytest

from chowk.connect.http1.heads import RequestHead, parse_request
from chowk.connect.routing.conditions import (
    QUERY_PARAMETERS_MAX,
    BadCondition,
    cookie_value,
    header_condition,
    path_test,
    query_condition,
    query_value,
)
from chowk.core.records.traffic import HeaderMatch, HttpMatch, QueryMatch


def request(*headers: str, target: str = "/") -> RequestHead:
    return parse_request("\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *headers, "", ""]).encode("latin-1"))


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ({"path_exact": "/a"}, ["/a", "//a", "/%61", "/b/../a"], ["/a/", "/A", "/ab", "/"]),
        ({"path_exact": "/a", "case_insensitive": True}, ["/a", "/A"], ["/b"]),
        ({"path_prefix": "/a"}, ["/a", "/a/", "/ab", "/a/b"], ["/", "/b/a", "/A"]),
        ({"path_prefix": "/a/"}, ["/a/", "/a/b"], ["/a", "/ab"]),
        ({"path_prefix": "/Api", "case_insensitive": True}, ["/api/x", "/API"], ["/ap"]),
        ({"path_prefix": "/a:b"}, ["/a:b", "/a%3ab/c", "/a%3Ab"], ["/a"]),
        ({"path_prefix": "/a%3Ab"}, ["/a:b", "/a%3ab/c"], ["/a%20b"]),
        ({"path_exact": "/caf\xe9"}, ["/caf%c3%a9", "/caf%C3%A9"], ["/caf%e9"]),
        ({"path_regex": "/v[0-9]+/.*"}, ["/v1/", "/v22/x/y", "/v1/%ff", "/v1/%c3%a9"], ["/v1", "/v/x", "/x/v1/y"]),
        ({"path_regex": "/a", "case_insensitive": True}, ["/a"], ["/A", "/a/b"]),
        ({"path_regex": "(?i)/a"}, ["/a", "/A"], ["/b"]),
        ({"path_exact": "/a%2fb"}, [], ["/a/b", "/a"]),
    ],
)
def test_paths_match_in_their_decoded_normal_form(rule: dict[str, object], yes: list[str], no: list[str]) -> None:
    match = HttpMatch(**rule)  # type: ignore[arg-type]
    test = path_test(match, case_insensitive=match.case_insensitive)
    assert test is not None
    assert [target for target in yes + no if test(request(target=target).key)] == yes


def test_a_rule_without_a_path_has_no_path_test() -> None:
    assert path_test(HttpMatch()) is None


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{1001}", "((((a{100}){100}){100}){100})", "\\"])
def test_expressions_that_do_not_compile_within_bounds_are_refused(pattern: str) -> None:
    with pytest.raises(BadCondition):
        path_test(HttpMatch(path_regex=pattern))
    with pytest.raises(BadCondition):
        header_condition(HeaderMatch(name="x", regex=pattern))


def test_an_expression_made_to_explode_does_not() -> None:
    test = path_test(HttpMatch(path_regex="/(a+)+b"))
    assert test is not None
    assert not test(b"/" + b"a" * 8000)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"present": True}, ["x", ""], [None]),
        ({"present": True, "invert": True}, [None], ["x", ""]),
        ({"exact": "b"}, ["b"], ["B", "bb", "", None]),
        ({"exact": "b", "ignore_case": True}, ["b", "B"], ["bb", None]),
        ({"exact": "b", "invert": True}, ["c", ""], ["b", None]),
        ({"prefix": "ab"}, ["ab", "abc"], ["a", "Ab", "xab", None]),
        ({"prefix": "aB", "ignore_case": True}, ["ab", "ABC"], ["a"]),
        ({"suffix": "bc"}, ["bc", "abc"], ["abcd", "ABC", None]),
        ({"suffix": "bC", "ignore_case": True}, ["bc", "ABC"], ["b"]),
        ({"contains": "b"}, ["b", "abc"], ["a", "ABC", None]),
        ({"contains": "b", "ignore_case": True}, ["b", "ABC"], ["a"]),
        ({"contains": "b", "invert": True}, ["a"], ["abc", None]),
        ({"regex": "a.c"}, ["abc", "a\xe9c"], ["abcd", "xabc", "", None]),
        ({"regex": "a.c", "invert": True}, ["abcd", ""], ["abc", None]),
    ],
)
def test_header_conditions(condition: dict[str, object], yes: list[str | None], no: list[str | None]) -> None:
    holds = header_condition(HeaderMatch(name="X-A", **condition))  # type: ignore[arg-type]
    values = yes + no
    requests = [request(*([] if value is None else [f"x-a: {value}"])) for value in values]
    assert [value for value, each in zip(values, requests, strict=True) if holds(each)] == yes


def test_several_lines_of_a_header_are_one_value_to_a_route() -> None:
    assert header_condition(HeaderMatch(name="x-a", exact="1, 2"))(request("X-A: 1", "x-a: 2"))


def test_pseudo_headers_are_those_of_the_request() -> None:
    each = request(target="/p%3aq?r")
    assert header_condition(HeaderMatch(name=":authority", exact="a"))(each)
    assert header_condition(HeaderMatch(name=":method", exact="GET"))(each)
    assert header_condition(HeaderMatch(name=":path", exact="/p%3Aq?r"))(each)
    assert not header_condition(HeaderMatch(name=":scheme", present=True))(each)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"present": True}, ["?q", "?q=", "?a&q=1", "?%71=1"], ["", "?", "?a", "?Q", "?qq=1", "?a=q"]),
        ({"exact": "a b"}, ["?q=a+b", "?q=a%20b", "?q=a%20b&q=c"], ["?q=a", "?q=c&q=a+b", "?q"]),
        ({"regex": "v[12]"}, ["?q=v1", "?x&q=v2"], ["?q=v3", "?q=v11", ""]),
    ],
)
def test_query_conditions_look_at_the_first_parameter_of_a_name(
    condition: dict[str, object], yes: list[str], no: list[str]
) -> None:
    holds = query_condition(QueryMatch(name="q", **condition))  # type: ignore[arg-type]
    assert [query for query in yes + no if holds(request(target="/" + query))] == yes


def test_only_so_many_parameters_are_looked_at() -> None:
    assert query_value(b"a&" * (QUERY_PARAMETERS_MAX - 1) + b"q=1", b"q") == b"1"
    assert query_value(b"a&" * QUERY_PARAMETERS_MAX + b"q=1", b"q") is None


def test_cookies_are_found_by_their_exact_name() -> None:
    each = request("Cookie: a=1; bb=2", "Cookie: b=3=4;c")
    assert [cookie_value(each, name) for name in (b"a", b"b", b"bb", b"c", b"d")] == [b"1", b"3=4", b"2", None, None]
    assert cookie_value(request(), b"a") is None
