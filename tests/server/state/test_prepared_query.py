"""Prepared queries in `apply`: names, ids and sessions stand for what they should, followers hear of every change."""

from __future__ import annotations

import msgspec
import pytest

from chowk.core.commands import (
    AnyCommand,
    Applied,
    CreateSession,
    DeletePreparedQuery,
    DestroySession,
    Envelope,
    Register,
    SetPreparedQuery,
)
from chowk.core.events import QueryItem
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import NAME_PREFIX_MATCH, PreparedQuery, QueryService, QueryTemplate
from chowk.core.records.session import Session
from chowk.server.state import prepared_query
from chowk.server.state.machine import apply
from chowk.server.state.prepared_query_table import ALL_QUERIES
from chowk.server.state.snapshot import freeze, thaw
from chowk.server.state.store import Store

A = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
B = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"


class World:
    def __init__(self) -> None:
        self.store = Store()
        self.index = 0

    def do(self, command: AnyCommand) -> Applied:
        self.index += 1
        envelope = Envelope(client="", sequence=0, time_s=1000.0, command=command)
        result, self.commit = apply(self.store, self.index, envelope)
        return result

    def put(self, id: str = A, name: str = "q", *, must_exist: bool = False, **fields: object) -> Applied:
        query = PreparedQuery(id=id, name=name, service=QueryService(service="web"), **fields)  # type: ignore[arg-type]
        return self.do(SetPreparedQuery(query=query, must_exist=must_exist))

    def resolve(self, name: str) -> str | None:
        found = self.store.prepared_queries.index().resolve(name)
        return found.id if found is not None else None


def test_a_name_is_free_again_when_its_query_has_another_or_is_gone() -> None:
    world = World()
    assert world.put(A, "q").ok
    assert world.put(B, "Q").value == "name 'Q' aliases an existing query name"
    assert world.put(A, "renamed").ok
    assert world.put(B, "Q").ok
    assert (world.resolve("q"), world.resolve("RENAMED")) == (B, A)
    assert world.do(DeletePreparedQuery(id=B)).ok
    assert world.put(A, "q").ok
    assert (world.resolve("q"), world.resolve("renamed")) == (A, None)


def test_no_name_is_another_querys_id_and_no_two_templates_take_every_name() -> None:
    world = World()
    template = QueryTemplate(type=NAME_PREFIX_MATCH)
    assert world.put(A, "", template=template).ok
    assert world.put(B, A.upper()).value == f"name '{A.upper()}' aliases an existing query ID"
    assert world.put(B, "", template=template).value == "a query template with an empty name already exists"
    assert world.put(A, "", template=template, token="t").ok


def test_one_that_is_not_there_is_neither_replaced_nor_removed() -> None:
    world = World()
    for result in (world.put(must_exist=True), world.do(DeletePreparedQuery(id=A))):
        assert (result.ok, result.value) == (False, f"Cannot modify non-existent prepared query: '{A}'")
    assert not world.commit.topics


def test_a_query_goes_with_its_session_in_the_same_commit() -> None:
    world = World()
    assert world.put(session="s").value == 'invalid session "s"'
    world.do(Register(node=Node(node="n", address="127.0.0.1")))
    for id in ("s", "t"):
        assert world.do(CreateSession(session=Session(id=id, node="n", node_checks=()))).ok
    assert world.put(A, session="s").ok
    assert world.put(B, "other", session="s").ok
    assert world.put(B, "other", session="t", must_exist=True).ok
    world.store = thaw(freeze(world.store)())
    world.do(DestroySession(id="s"))
    assert list(world.store.prepared_queries.records) == [B]
    assert [(event.topic, event.key, event.payload) for event in world.commit.events] == [(ALL_QUERIES, A, None)]


def test_followers_hear_of_every_change_and_never_of_the_token() -> None:
    world = World()
    world.put(token="secret")
    [event] = world.commit.events
    assert isinstance(event.payload, QueryItem)
    stored = world.store.prepared_queries.records[A]
    assert (stored.token, event.payload.query) == ("secret", msgspec.structs.replace(stored, token=""))
    assert world.store.last_changed(ALL_QUERIES) == 1
    world.put(token="secret")
    assert not world.commit.events, "nothing changed"
    world.put(token="other")
    assert world.commit.topics == {ALL_QUERIES}


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_query, "QUERIES_MAX", 1)
    world = World()
    assert world.put(A).ok
    assert "a template may stand for many" in str(world.put(B, "b").value)
    assert world.put(A, "changed").ok
