"""The table of coordinates: of nodes that are there, valid, gone with their node; and sorting by nearness."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chowk.core.commands import Deregister, Envelope, Register, UpdateCoordinates
from chowk.core.records.coordinate import DIMENSIONS, Coordinate, NodeCoordinate
from chowk.core.records.node import Node
from chowk.server.state.coordinates import ANY_COORDINATE, coordinate_topic, coordinates, nearest_first
from chowk.server.state.machine import Commit, apply
from chowk.server.state.store import Store
from support.store_commands import logs


def at(node: str, seconds: float, **more: Any) -> NodeCoordinate:
    """On one line."""
    return NodeCoordinate(node=node, coord=Coordinate(vec=(seconds, *(0.0,) * (DIMENSIONS - 1)), **more))


def write(store: Store, *commands: Any) -> Commit:
    for command in commands:
        _result, commit = apply(
            store, store.index + 1, Envelope(client="", sequence=0, time_s=0.0, command=command, version=3)
        )
    return commit


def with_nodes(*names: str) -> Store:
    store = Store()
    write(store, *(Register(node=Node(node=name, address="127.0.0.1")) for name in names))
    return store


def test_the_coordinate_of_a_node_is_noted_under_its_own_spelling_and_wakes_only_who_asked_for_it() -> None:
    store = with_nodes("Web1", "web2")
    commit = write(store, UpdateCoordinates(coordinates=(at("WEB1", 0.01), at("nobody", 0.01))))
    assert coordinates(store) == (at("Web1", 0.01),)
    assert coordinates(store, "web1") == (at("Web1", 0.01),)
    assert coordinates(store, "web2") == ()
    assert commit.topics == {ANY_COORDINATE, coordinate_topic("web1")}
    again = write(store, UpdateCoordinates(coordinates=(at("web1", 0.01),)))
    assert again.topics == frozenset()


def test_a_node_that_goes_takes_its_coordinate_with_it() -> None:
    store = with_nodes("web1")
    write(store, UpdateCoordinates(coordinates=(at("web1", 0.01),)))
    commit = write(store, Deregister(node="web1"))
    assert coordinates(store) == ()
    assert {ANY_COORDINATE, coordinate_topic("web1")} <= commit.topics
    assert store.last_changed(coordinate_topic("web1")) == store.index


@given(logs)
def test_whatever_is_applied_only_valid_coordinates_of_nodes_that_are_there_are_held(log: list[Envelope]) -> None:
    store = Store()
    for index, envelope in enumerate(log, 1):
        apply(store, index, envelope)
    for key, known in store.coordinates.items():
        assert store.nodes[key].node == known.node
        assert known.coord.problem == ""


def test_rows_come_nearest_first_equals_as_they_were_and_those_of_unknown_places_last() -> None:
    store = with_nodes("a", "b", "c", "d", "e")
    write(store, UpdateCoordinates(coordinates=(at("a", 0.0), at("b", 0.03), at("c", 0.01), at("d", 0.01))))
    rows = ("e", "b", "d", "a", "c")
    assert nearest_first(store, "A", rows, str) == ("a", "d", "c", "b", "e")
    assert nearest_first(store, "b", rows, str) == ("b", "d", "c", "a", "e")
    for nowhere in ("", "e", "nobody"):
        assert nearest_first(store, nowhere, rows, str) == rows


parts = st.floats(-1000, 1000)


@given(st.lists(parts, min_size=16, max_size=16), parts, parts, st.floats(0, 1000), st.floats(0, 1000))
def test_an_estimate_is_the_same_both_ways_and_never_negative(
    vec: list[float], one: float, two: float, height: float, other: float
) -> None:
    first = Coordinate(vec=tuple(vec[:8]), adjustment=one, height=height)
    second = Coordinate(vec=tuple(vec[8:]), adjustment=two, height=other)
    assert first.rtt_s(second) == second.rtt_s(first) >= 0
