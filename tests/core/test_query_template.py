"""Templates and the choice of prepared queries, under whatever people may write."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from chowk.core.query_index import QueryIndex, own_first
from chowk.core.query_template import Template
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import NAME_PREFIX_MATCH, PreparedQuery, QueryService, QueryTemplate
from chowk.core.records.service import NodeService


def template(name: str, service: str = "${name.full}", regexp: str = "") -> PreparedQuery:
    kind = QueryTemplate(type=NAME_PREFIX_MATCH, regexp=regexp)
    return PreparedQuery(id=f"id-{name}", name=name, template=kind, service=QueryService(service=service))


PIECES = st.sampled_from(
    (
        "a",
        "$",
        "$$",
        "${",
        "}",
        "{",
        "$${",
        "${name.full}",
        "${ name.suffix }",
        "${match(0)}",
        "${match( -1 )}",
        "${x}",
        "é",
    )
)


@given(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=20))
def test_any_text_is_filled_in_or_refused_with_its_place(text: str, name: str) -> None:
    told = ""
    try:
        filled = Template(template("", text)).render(name).service.service
    except ValueError as error:
        told = str(error)
    assert told.startswith(f"Bad format '{text}' in Service.Service: ") if told else isinstance(filled, str)


@given(st.text(alphabet="abc$}{", max_size=12))
def test_text_without_an_interpolation_stays_as_it_is(text: str) -> None:
    if "${" not in text:
        assert Template(template("", text)).render("x").service.service == text


def test_what_follows_the_name_is_known_whatever_its_case() -> None:
    compiled = Template(template("Geo-", "${name.prefix}|${name.suffix}|${name.full}|$${x}"))
    assert compiled.render("gEO-Db").service.service == "Geo-|Db|gEO-Db|${x}"


def test_a_group_that_is_not_there_is_empty() -> None:
    compiled = Template(template("", "${match(0)},${match(1)},${match(2)},${match(-1)},${match(99)}", "^(a)|(b)$"))
    assert compiled.render("b").service.service == "b,,b,,"
    assert compiled.render("c").service.service == ",,,,"
    assert compiled.render("\ud800").service.service == ",,,,"


def test_a_regular_expression_takes_time_linear_in_the_name() -> None:
    compiled = Template(template("", "${match(0)}", "^(a+)+$"))
    started = time.perf_counter()
    compiled.render("a" * 100_000 + "!")
    assert time.perf_counter() - started < 1


names = st.lists(st.sampled_from(("", "a", "A", "ab", "aB-", "abc", "b")), unique_by=str.lower, max_size=5)


@given(names, st.text(alphabet="aAbBc-", max_size=6))
def test_the_longest_template_that_a_name_begins_with_is_meant(given_names: list[str], asked: str) -> None:
    index = QueryIndex(template(name) for name in given_names)
    fitting = [name for name in given_names if asked.lower().startswith(name.lower())]
    found = index.resolve(asked) if asked else None
    assert (found.name if found is not None else None) == (max(fitting, key=len) if fitting and asked else None)


def test_a_query_that_this_release_cannot_read_is_none() -> None:
    newer = PreparedQuery(id="i", name="q", template=QueryTemplate(type="newer"), service=QueryService(service="web"))
    index = QueryIndex([newer])
    assert index.resolve("q") is None
    assert index.resolve("q") is None


def test_those_of_a_node_come_first_and_the_others_stay_in_order() -> None:
    rows = [
        ServiceInstance(node=Node(node=node, address=""), service=NodeService(id=id, service="web"))
        for node, id in (("a", "1"), ("B", "2"), ("c", "3"), ("b", "4"))
    ]
    assert [row.service.id for row in own_first(rows, "b")] == ["2", "4", "1", "3"]
    assert own_first(rows, "") == rows
