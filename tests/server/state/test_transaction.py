"""Transactions in `apply`: all or nothing, each step seeing those before it, one index, and the same answer to a retry."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.core.commands import (
    AnyCommand,
    Applied,
    CreateSession,
    DestroySession,
    Envelope,
    PutKey,
    Register,
    SetPreparedQuery,
    Transaction,
)
from chowk.core.events import KEY_TREE, Topic
from chowk.core.records.check import CRITICAL, PASSING, SERF_HEALTH_ID, HealthCheck
from chowk.core.records.kv import KVEntry
from chowk.core.records.node import Node
from chowk.core.records.operation import (
    OPERATIONS_MAX,
    CheckOperation,
    KeyOperation,
    NodeOperation,
    Operation,
    OperationResult,
    Outcome,
    ServiceOperation,
)
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.records.service import NodeService
from chowk.core.records.session import Session
from chowk.server.state import queries, transaction
from chowk.server.state.kv_table import key_topic
from chowk.server.state.machine import apply
from chowk.server.state.outcomes import Outcomes
from chowk.server.state.snapshot import freeze, thaw
from chowk.server.state.store import Store
from support.store_commands import NAMES, NODE_NAMES, logs, transactions


class World:
    def __init__(self) -> None:
        self.store = Store()
        self.index = 0

    def do(self, command: AnyCommand, *, client: str = "", sequence: int = 0, time_s: float = 1000.0) -> Applied:
        self.index += 1
        envelope = Envelope(client=client, sequence=sequence, time_s=time_s, command=command)
        result, self.commit = apply(self.store, self.index, envelope)
        return result

    def txn(self, *operations: Operation) -> Outcome:
        outcome = self.do(Transaction(operations=operations)).value
        assert isinstance(outcome, Outcome)
        return outcome

    def fails(self, *operations: Operation) -> list[tuple[int, str]]:
        outcome = self.txn(*operations)
        assert not outcome.results
        return [(error.position, error.what) for error in outcome.errors]

    def with_session(self, id: str = "s") -> World:
        check = HealthCheck(node="n1", check_id=SERF_HEALTH_ID, status=PASSING)
        self.do(Register(node=Node(node="n1", address="127.0.0.1"), checks=(check,)))
        assert self.do(CreateSession(session=Session(id=id, node="n1"))).ok
        return self


def key(verb: str, name: bytes = b"k", **fields: object) -> KeyOperation:
    return KeyOperation(verb=verb, key=name, **fields)  # type: ignore[arg-type]


def state(store: Store) -> tuple[bytes, Any]:
    """All of it but what says that a command came by: its index, its results, its version. What is kept of the tables for
    those who ask is looked at too, for a snapshot holds none of it. When each thing changed is not here: see `whole`."""
    indexes = (
        queries.summaries(store),
        [queries.instances(store, name, connect=connect) for name in NAMES for connect in (False, True)],
        [(queries.services_of(store, name), queries.checks_of(store, name)) for name in NODE_NAMES],
        [queries.at_address(store, address) for address in ("127.0.0.1", "127.0.0.2", "::1")],
        {session: set(keys) for session, keys in store.kv.held.items()},
        dict(store.prepared_queries.ids_by_name),
    )
    copy = thaw(freeze(store)())
    copy.changed.table().clear()
    copy.index, copy.commands, copy.outcomes, copy.sessions = 0, 1, Outcomes(), Store().sessions
    return b"".join(freeze(copy)()), indexes


def whole(store: Store) -> tuple[tuple[bytes, Any], dict[Topic, int]]:
    """The same, and when each thing changed."""
    return state(store), dict(store.changed.table())


def test_all_of_it_happens_at_one_index_and_wakes_whoever_watches_any_of_it() -> None:
    world = World()
    outcome = world.txn(
        key("set", b"a", value=b"1", flags=7),
        key("set", b"b", value=b"2"),
        NodeOperation(verb="set", node=Node(node="n1", address="127.0.0.1")),
        ServiceOperation(verb="set", node="n1", service=NodeService(id="web", service="web")),
        CheckOperation(verb="set", check=HealthCheck(node="n1", check_id="c", service_id="web", status=PASSING)),
        key("get", b"a"),
        key("get-tree", b""),
    )
    assert not outcome.errors
    first, _, node, service, check, *read = outcome.results
    assert first.key == KVEntry(key=b"a", flags=7, create_index=1, modify_index=1)
    assert node.node is not None
    assert node.node.modify_index == 1
    assert service.service is not None
    assert service.service.create_index == 1
    assert check.check is not None
    assert (check.check.service_name, check.check.modify_index) == ("web", 1)
    assert [(row.key.key, row.key.value) for row in read if row.key] == [(b"a", b"1"), (b"a", b"1"), (b"b", b"2")]
    topics = world.commit.topics
    assert {key_topic(b"a"), key_topic(b"b"), Topic(kind="health", key="web"), Topic(kind="nodes")} <= topics
    assert {event.index for event in world.commit.events} == {1}


def test_a_transaction_of_which_one_step_fails_changes_nothing_and_names_every_failure() -> None:
    world = World()
    world.do(PutKey(key=b"there", value=b"1"))
    before = whole(world.store)
    errors = world.fails(
        key("set", b"new", value=b"1"),
        key("cas", b"there", value=b"2", index=7),
        key("check-not-exists", b"new"),
        key("delete-tree", b""),
        key("get", b"there"),
    )
    assert errors == [
        (1, 'failed to set key "there", index is stale'),
        (2, 'key "new" exists'),
        (4, 'key "there" doesn\'t exist'),
    ]
    assert whole(world.store) == before
    assert (world.commit.events, world.commit.topics) == ((), frozenset())


@settings(max_examples=150, deadline=None)
@given(logs, transactions, st.floats(allow_nan=False, allow_infinity=False))
def test_a_transaction_is_its_steps_one_by_one_or_nothing(
    log: list[Envelope], last: Transaction, time_s: float
) -> None:
    """The model: the same steps, each a transaction of its own, on another store; it fails where one of these does."""
    stores = Store(), Store()
    for index, envelope in enumerate(log, 1):
        for store in stores:
            apply(store, index, envelope)
    store, model = stores
    before, index = whole(store), len(log) + 1
    envelope = Envelope(client="", sequence=0, time_s=time_s, command=last)
    result, commit = apply(store, index, envelope)
    outcome = result.value
    single = [
        apply(model, index, msgspec.structs.replace(envelope, command=Transaction(operations=(step,))))[0].value
        for step in last.operations
    ]
    failed = [position for position, each in enumerate(single) if each.errors]
    assert [error.position for error in outcome.errors] == failed
    if failed:
        assert whole(store) == before
        assert not commit.topics
        assert not result.ok
    else:
        assert outcome.results == tuple(row for each in single for row in each.results)
        assert state(store) == state(model)
        # What came and went inside a transaction may leave fewer marks than its steps do, never one more.
        assert set(store.changed.table()) <= set(model.changed.table())


@settings(max_examples=80, deadline=None)
@given(logs)
def test_every_server_ends_up_with_the_same_also_from_a_snapshot_in_the_middle(log: list[Envelope]) -> None:
    store = Store()
    copies = []
    for index, envelope in enumerate(log, 1):
        result, _ = apply(store, index, envelope)
        for copy in copies:
            assert apply(copy, index, envelope)[0] == result
        if index % 10 == 0:
            copies.append(thaw(freeze(store)()))
    frozen = b"".join(freeze(store)())
    assert all(b"".join(freeze(copy)()) == frozen for copy in copies)


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (key("get"), 'key "k" doesn\'t exist'),
        (key("check-index", index=3), 'failed to check index, key "k" doesn\'t exist'),
        (key("check-session", session="s"), 'failed to check session, key "k" doesn\'t exist'),
        (key("check-index", b"there", index=9), 'failed index check for key "there", current modify index 1 != 9'),
        (
            key("check-session", b"there", session="s"),
            'failed session check for key "there", current session "" != "s"',
        ),
        (key("check-not-exists", b"there"), 'key "there" exists'),
        (key("cas", b"there"), 'failed to set key "there", index is stale'),
        (key("delete-cas", b"there", index=9), 'failed to delete key "there", index is stale'),
        (key("lock"), "missing session"),
        (key("unlock"), "missing session"),
        (key("lock", session="none"), 'invalid session "none"'),
        (key("unlock", session="none"), 'failed to unlock key "k", lock isn\'t held, or is held by another session'),
        (key("nonsense"), 'unknown KV verb "nonsense"'),
        (NodeOperation(verb="get", node=Node(node="n", address="")), 'node "n" doesn\'t exist'),
        (NodeOperation(verb="cas", node=Node(node="n", address=""), index=2), 'failed to set node "n", index is stale'),
        (
            NodeOperation(verb="delete-cas", node=Node(node="n", address="")),
            'failed to delete node "n", index is stale',
        ),
        (NodeOperation(verb="lock", node=Node(node="n", address="")), 'unknown Node verb "lock"'),
        (
            ServiceOperation(verb="get", node="n", service=NodeService(id="s", service="")),
            'service "s" on node "n" doesn\'t exist',
        ),
        (
            ServiceOperation(verb="set", node="n", service=NodeService(id="s", service="s")),
            "Missing node registration",
        ),
        (
            ServiceOperation(verb="delete-cas", node="n", service=NodeService(id="s", service="s"), index=4),
            'failed to delete service "s" on node "n", index is stale',
        ),
        (
            CheckOperation(verb="get", check=HealthCheck(node="n", check_id="c")),
            'check "c" on node "n" doesn\'t exist',
        ),
        (CheckOperation(verb="set", check=HealthCheck(node="n", check_id="c")), "Missing node registration"),
        (CheckOperation(verb="", check=HealthCheck(node="n", check_id="c")), 'unknown Check verb ""'),
    ],
)
def test_each_failure_says_what_consul_says(operation: Operation, what: str) -> None:
    world = World()
    world.do(PutKey(key=b"there"))
    assert world.fails(operation) == [(0, what)]


def test_locks_follow_the_rules_of_keys() -> None:
    world = World().with_session("s1")
    assert world.do(CreateSession(session=Session(id="s2", node="n1"))).ok
    (taken,) = world.txn(key("lock", session="s1", value=b"1")).results
    assert taken.key is not None
    assert (taken.key.session, taken.key.lock_index, taken.key.value) == ("s1", 1, b"")
    assert world.fails(key("lock", session="s2")) == [(0, 'failed to lock key "k", lock is already held')]
    assert len(world.txn(key("check-session", session="s1"), key("unlock", session="s1")).results) == 2
    world.txn(key("lock", session="s2"))
    world.do(DestroySession(id="s2"))
    assert world.fails(key("lock", session="s1")) == [(0, 'failed to lock key "k" due to lock delay')]


def test_a_check_that_fails_ends_its_sessions_and_what_hangs_on_them_or_not_when_the_whole_is_refused() -> None:
    world = World().with_session()
    world.do(PutKey(key=b"k", acquire="s"))
    world.do(SetPreparedQuery(query=PreparedQuery(id="q", name="q", session="s")))
    bad = HealthCheck(node="n1", check_id=SERF_HEALTH_ID, status=CRITICAL)
    before = whole(world.store)
    assert world.fails(CheckOperation(verb="set", check=bad), key("check-session", session="s")) == [
        (1, 'failed session check for key "k", current session "" != "s"')
    ]
    assert whole(world.store) == before
    outcome = world.txn(CheckOperation(verb="set", check=bad), key("check-session", session=""))
    assert not outcome.errors
    assert not world.store.prepared_queries.records
    assert not world.store.session_table.records


def test_a_missing_key_may_be_read_as_an_empty_one() -> None:
    asked = KVEntry(key=b"k", flags=5, modify_index=3)
    assert World().txn(key("get-or-empty", value=b"v", flags=5, index=3)).results == (OperationResult(key=asked),)


def test_removing_a_tree_is_told_to_those_who_watch_it() -> None:
    world = World()
    for name in (b"a/1", b"a/2", b"b"):
        world.do(PutKey(key=name))
    world.txn(key("delete-tree", b"a/"), key("set", b"a/3"))
    assert Topic(kind=KEY_TREE, key="a/") in world.commit.topics
    assert list(world.store.kv.entries) == [b"a/3", b"b"]


def test_one_that_is_sent_again_gets_its_answer_again_and_is_done_once() -> None:
    world = World()
    command = Transaction(operations=(key("cas", value=b"1"), key("get")))
    first = world.do(command, client="c", sequence=1)
    lost = world.do(command, client="c", sequence=2)
    assert first.ok
    assert not lost.ok
    world.store = thaw(freeze(world.store)())
    assert world.do(command, client="c", sequence=1) == first
    assert world.do(command, client="c", sequence=2) == lost
    assert world.store.kv.entries[b"k"].modify_index == 1


def test_answers_are_kept_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = Outcomes()
    monkeypatch.setattr("chowk.server.state.outcomes.OUTCOMES_MAX", 3)
    monkeypatch.setattr("chowk.server.state.outcomes.BYTES_MAX", 5000)
    for sequence in range(5):
        outcomes.remember("c", sequence, Outcome())
    assert [row[1] for row in outcomes.rows()] == [2, 3, 4]
    big = Outcome(results=(OperationResult(key=KVEntry(key=b"k", value=bytes(3000))),))
    outcomes.remember("c", 5, big)
    outcomes.remember("c", 6, big)
    assert [row[1] for row in outcomes.rows()] == [6]


def test_too_many_steps_and_too_large_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    errors = world.fails(*(key("set") for _ in range(OPERATIONS_MAX + 1)))
    assert errors == [(OPERATIONS_MAX, f"Transaction contains too many operations (65 > {OPERATIONS_MAX})")]
    monkeypatch.setattr(transaction, "RESULT_BYTES_MAX", 1000)
    for name in (b"a", b"b", b"c"):
        world.do(PutKey(key=name, value=bytes(400)))
    for steps, position in (((key("get-tree", b""),), 0), ((key("get", b"a"), key("get", b"b"), key("get", b"c")), 2)):
        ((at, what),) = world.fails(*steps)
        assert (at, what) == (position, "the results are over 1000 bytes: read large trees by GET /v1/kv/")
    assert not world.txn(key("get", b"a"), key("get", b"b")).errors


def test_a_node_that_a_transaction_makes_and_removes_leaves_no_mark_behind() -> None:
    world = World()
    world.txn(
        NodeOperation(verb="set", node=Node(node="n9", address="127.0.0.1")),
        CheckOperation(verb="set", check=HealthCheck(node="n9", check_id="c", status=PASSING)),
        NodeOperation(verb="delete", node=Node(node="n9", address="")),
    )
    assert not [topic for topic in world.store.changed.table() if topic.key == "n9"]
