"""Query strings and tokens: what is read, what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from chowk.agent.api.errors import HttpError
from chowk.agent.api.query import (
    ONCE,
    PARAMETERS_MAX,
    UNSUPPORTED,
    WAIT_MAX_S,
    Query,
    parse,
    parse_token,
    read_options,
    refuse_scope_headers,
)
from chowk.agent.config.model import HttpConfig
from chowk.core.requests import CONSISTENT, DEFAULT, STALE


def query(*pairs: tuple[str, str]) -> Query:
    return parse(MultiDict(pairs))


def refusal(*pairs: tuple[str, str]) -> str:
    with pytest.raises(HttpError) as caught:
        read_options(query(*pairs), "")
    assert caught.value.status == 400
    return str(caught.value)


def test_nothing_asked_is_a_plain_default_read() -> None:
    options = read_options(query(), "t")
    assert (options.min_index, options.max_wait_s, options.consistency, options.token) == (0, 300.0, DEFAULT, "t")


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m30s", 90), ("250ms", 0.25), ("2h", WAIT_MAX_S), ("0s", 300)]
)
def test_wait_is_a_duration_with_a_cap(text: str, seconds: float) -> None:
    assert read_options(query(("index", "5"), ("wait", text)), "").max_wait_s == seconds


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "１", "99999999999999999999", "0x10", " 5"])
def test_an_index_that_is_no_number_is_refused_in_consuls_words(text: str) -> None:
    assert refusal(("index", text)) == "Invalid index"


@pytest.mark.parametrize("text", ["10", "x", "-5s", "10s10", "1e3s", "infs"])
def test_a_wait_that_is_no_duration_is_refused_in_consuls_words(text: str) -> None:
    assert refusal(("wait", text)) == "Invalid wait time"


@pytest.mark.parametrize(
    ("pairs", "consistency"),
    [
        ([("stale", "")], STALE),
        ([("stale", "true")], STALE),
        ([("stale", "yes")], STALE),
        ([("stale", "false")], DEFAULT),
        ([("max_stale", "")], DEFAULT),
        ([("consistent", "")], CONSISTENT),
        ([("leader", "")], DEFAULT),
        ([("max_stale", "5s")], STALE),
        ([("cached", ""), ("stale", "")], STALE),
    ],
)
def test_consistency(pairs: list[tuple[str, str]], consistency: str) -> None:
    assert read_options(query(*pairs), "").consistency == consistency


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("stale", "consistent"),
        ("leader", "stale"),
        ("leader", "consistent"),
        ("cached", "consistent"),
        ("cached", "leader"),
    ],
)
def test_clashing_consistency_is_refused_in_consuls_words(first: str, second: str) -> None:
    text = f"Cannot specify ?{first} with ?{second}, conflicting semantics."
    assert refusal((first, ""), (second, "")) == text


def test_what_is_not_supported_is_named() -> None:
    assert refusal(("ns", "a")) == 'Invalid query parameter: "ns" - namespaces are not supported'
    assert refusal(("partition", "b")) == 'Invalid query parameter: "partition" - admin partitions are not supported'
    assert refusal(("peer", "c")) == 'Invalid query parameter: "peer" - cluster peering is not supported'


@pytest.mark.parametrize("name", UNSUPPORTED)
@pytest.mark.parametrize("value", ["", "default"])
def test_the_default_scope_is_where_everything_is(name: str, value: str) -> None:
    assert read_options(query((name, value)), "") == read_options(query(), "")
    assert "not supported" in refusal((name, value), (name, "a"))


@pytest.mark.parametrize("header", ["X-Consul-Namespace", "X-Consul-Partition"])
def test_a_header_that_asks_for_another_scope_is_refused(header: str) -> None:
    refuse_scope_headers(CIMultiDict({header: "default"}))
    refuse_scope_headers(CIMultiDict({header: ""}))
    for values in (["team"], ["default", "team"], ["team", ""]):
        with pytest.raises(HttpError, match="are not supported") as caught:
            refuse_scope_headers(CIMultiDict([(header, value) for value in values]))
        assert caught.value.status == 400


@pytest.mark.parametrize("name", ["index", "wait", "max_stale", "dc", "near"])
def test_a_parameter_without_a_value_is_none(name: str) -> None:
    assert read_options(query((name, "")), "") == read_options(query(), "")


def test_a_cas_without_a_value_is_no_wish_to_write_whatever_is_there() -> None:
    assert (query().cas("no"), query(("cas", "7")).cas("no")) == (None, 7)
    with pytest.raises(HttpError, match="no"):
        query(("cas", "")).cas("no")


def test_of_a_parameter_given_twice_the_first_counts_and_tags_are_lists() -> None:
    assert read_options(query(("index", "1"), ("index", "2"), ("dc", "a"), ("dc", "b")), "").min_index == 1
    assert read_options(query(("dc", "a"), ("dc", "b")), "").datacenter == "a"
    assert parse_token(query(("token", "t"), ("token", "u")), {}) == "t"
    assert read_options(query(("index", "1"), ("index", "x")), "").min_index == 1
    found = query(("tag", "a"), ("tag", "b"), ("node-meta", "k:v:w"), ("node-meta", "x"))
    assert found.all("tag") == ("a", "b")
    assert found.node_meta() == {"k": "v:w", "x": ""}


@pytest.mark.parametrize("name", sorted(ONCE))
def test_who_may_call_whom_is_said_once(name: str) -> None:
    assert refusal((name, "a"), (name, "b")) == f'Query parameter "{name}" is given twice'


@pytest.mark.parametrize(
    ("value", "there", "true"),
    [("", True, True), ("1", True, True), ("T", True, True), ("true", True, True), ("FALSE", False, False)],
)
def test_a_flag_is_there_or_not_and_a_truth_is_true_or_not(value: str, there: bool, true: bool) -> None:
    found = query(("x", value))
    assert (found.flag("x"), found.truth("x")) == (there, true)
    assert found.truth("x", empty=False) == (true and value != "")
    assert not query().flag("x")
    assert not query().truth("x")


def test_a_truth_that_is_neither_is_refused() -> None:
    assert query(("passing", "perhaps")).flag("passing")
    with pytest.raises(HttpError, match=r'Invalid value for \?passing: "perhaps" is not true or false'):
        query(("passing", "perhaps")).truth("passing")


def test_the_number_and_length_of_parameters_are_bounded() -> None:
    assert refusal(*[(str(number), "") for number in range(PARAMETERS_MAX + 1)]).startswith("More than")
    assert "longer than" in refusal(("filter", "x" * 10_000))


def test_a_token_comes_from_the_query_then_the_header_then_the_bearer() -> None:
    headers = {"X-Consul-Token": "h", "Authorization": "Bearer b"}
    assert parse_token(query(("token", "q")), headers) == "q"
    assert parse_token(query(), headers) == "h"
    assert parse_token(query(), {"Authorization": "bearer b "}) == "b"
    assert parse_token(query(), {"Authorization": "b"}) == ""


NAMES = st.sampled_from(["index", "wait", "stale", "consistent", "leader", "max_stale", "cached", "ns", "tag", "x"])


@given(st.lists(st.tuples(NAMES, st.text(max_size=12)), max_size=6))
def test_any_query_is_read_or_refused_with_400(pairs: list[tuple[str, str]]) -> None:
    with suppress(HttpError):  # whose status, 400, the tests above hold
        options = read_options(query(*pairs), "")
        assert options.min_index >= 0
        assert 0 < options.max_wait_s <= WAIT_MAX_S


def test_the_configuration_says_how_long_a_query_waits_at_most_and_without_a_word() -> None:
    http = HttpConfig(default_query_time_s=20.0, max_query_time_s=30.0)
    for asked, waits in (({}, 20.0), ({"wait": "25s"}, 25.0), ({"wait": "10m"}, 30.0)):
        assert read_options(parse(MultiDict(asked)), "", http).max_wait_s == waits
    assert read_options(parse(MultiDict({"wait": "1h"})), "", HttpConfig(max_query_time_s=9999.0)).max_wait_s == 600.0
