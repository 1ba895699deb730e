"""`apply` under random commands: total, monotonic, idempotent, and its events say exactly what the tables hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.core import codec
from chowk.core.commands import (
    AnyCommand,
    Applied,
    DeleteIntention,
    Deregister,
    Envelope,
    Register,
    UpsertConfigEntry,
    UpsertIntention,
)
from chowk.core.events import (
    CONFIG,
    CONNECT,
    HEALTH,
    INTENTIONS,
    KEY_PREFIX,
    KEY_TREE,
    NODE_SERVICES,
    NODES,
    QUERIES,
    ROOTS,
    SERVICES,
    Event,
    Payload,
    Topic,
)
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import (
    KINDS,
    ServiceDefaults,
    ServiceIntentions,
    SourceIntention,
)
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, NodeService
from chowk.server.state.machine import NewerEntry, StoreMachine, apply
from chowk.server.state.store import Store
from chowk.server.state.topics import items
from support.store_commands import NAMES, NODE_NAMES, commands, logs

TOPICS = (
    *(Topic(kind=kind, key=name.lower()) for kind in (HEALTH, CONNECT) for name in NAMES),
    *(Topic(kind=NODE_SERVICES, key=name.lower()) for name in NODE_NAMES),
    *(Topic(kind=CONFIG, key=kind) for kind in KINDS),
    Topic(kind=NODES),
    Topic(kind=SERVICES),
    Topic(kind=ROOTS),
    Topic(kind=QUERIES),
)


def folded(events: Sequence[Event]) -> dict[Topic, dict[str, Payload]]:
    tables: dict[Topic, dict[str, Payload]] = {}
    for event in events:
        table = tables.setdefault(event.topic, {})
        if event.payload is None:
            assert event.key in table, f"{event} takes away what was never there"
            del table[event.key]
        else:
            table[event.key] = event.payload
    return tables


def snapshot_of(store: Store) -> dict[Topic, dict[str, Payload]]:
    tables = {topic: items(store, topic) for topic in TOPICS}
    for name in NAMES:
        found = items(store, Topic(kind=INTENTIONS, key=name))
        tables[Topic(kind=INTENTIONS, key=name)] = {key: v for key, v in found.items() if key.endswith(f"/{name}")}
    return {topic: table for topic, table in tables.items() if table}


@settings(max_examples=300, deadline=None)
@given(logs)
def test_folding_all_events_gives_what_the_tables_hold(log: list[Envelope]) -> None:
    store = Store()
    events: list[Event] = []
    for index, envelope in enumerate(log, 1):
        _result, commit = apply(store, index, envelope)
        assert all(event.index == index for event in commit.events)
        assert len({(event.topic, event.key) for event in commit.events}) == len(commit.events)
        events += commit.events
        for event in commit.events:
            assert store.changed.index(event.topic) == index
            assert event.topic in commit.topics
        for topic in commit.topics:
            assert store.last_changed(_read_by(topic)) == index
    tables = {topic: table for topic, table in folded(events).items() if table}
    assert tables == snapshot_of(store)


def _read_by(topic: Topic) -> Topic:
    """The topic that a query waits for when `topic` is told: a tree of keys is read by its prefix."""
    return Topic(kind=KEY_PREFIX, key=topic.key) if topic.kind == KEY_TREE else topic


@settings(max_examples=150, deadline=None)
@given(logs)
def test_indexes_never_fall_and_modify_never_precedes_create(log: list[Envelope]) -> None:
    store = Store()
    before: dict[Topic, int] = {}
    for index, envelope in enumerate(log, 1):
        apply(store, index, envelope)
        assert store.index == index
        for topic in TOPICS:
            assert store.changed.index(topic) >= before.get(topic, 0)
            before[topic] = store.changed.index(topic)
        rows = (*store.nodes.values(), *store.services.values(), *store.checks.values(), *store.entries.values())
        assert all(1 <= row.create_index <= row.modify_index <= index for row in rows)


@settings(max_examples=150, deadline=None)
@given(logs)
def test_the_secondary_indexes_agree_with_the_tables(log: list[Envelope]) -> None:
    store = Store()
    for index, envelope in enumerate(log, 1):
        apply(store, index, envelope)
    assert {row for rows in store.by_service.values() for row in rows} == set(store.services)
    assert {row for rows in store.services_of_node.values() for row in rows} == set(store.services)
    assert {row for rows in store.checks_of_node.values() for row in rows} == set(store.checks)
    assert {row for rows in store.checks_of_service.values() for row in rows} == set(store.checks)
    assert {row for rows in store.by_mesh.values() for row in rows} == {
        key for key, service in store.services.items() if service.mesh_name
    }
    assert all(key[0] in store.nodes for key in (*store.services, *store.checks))
    assert sum(tally.instances for tally in store.tallies.values()) == len(store.services)
    assert set(store.node_ids.values()) <= set(store.nodes)


@settings(max_examples=200, deadline=None)
@given(logs)
def test_only_sessions_that_live_hold_keys_and_only_what_is_well_keeps_them_alive(log: list[Envelope]) -> None:
    store = Store()
    for index, envelope in enumerate(log, 1):
        apply(store, index, envelope)
        sessions, held = store.session_table.records, store.kv.held
        assert {key: id for id, keys in held.items() for key in keys} == {
            key: entry.session for key, entry in store.kv.entries.items() if entry.session
        }
        assert set(held) <= set(sessions)
        for session in sessions.values():
            node = session.node.lower()
            assert session.id in store.session_table.of_node[node]
            assert node in store.nodes
            assert all(store.checks[node, id].status != "critical" for id in session.check_ids)
        assert {id for ids in store.session_table.of_node.values() for id in ids} == set(sessions)
        assert not set(store.kv.tombstones) & set(store.kv.entries)


@settings(max_examples=150, deadline=None)
@given(logs, st.integers(1, 97))
def test_a_snapshot_restores_the_same_store_however_its_bytes_are_cut(log: list[Envelope], cut: int) -> None:
    machine = StoreMachine()
    for index, envelope in enumerate(log, 1):
        machine.apply(index, codec.pack(envelope))
    data = b"".join(machine.snapshot()())
    other = StoreMachine()
    other.restore(data[start : start + cut] for start in range(0, len(data), cut))
    assert b"".join(other.snapshot()()) == data
    assert snapshot_of(other.store) == snapshot_of(machine.store)
    assert other.store.sessions.rows() == machine.store.sessions.rows()
    after = Envelope(client="", sequence=0, time_s=1.0, command=Deregister(node="n1"))
    assert apply(other.store, 1000, after)[1].events == apply(machine.store, 1000, after)[1].events


@settings(max_examples=100, deadline=None)
@given(logs)
def test_the_same_log_gives_the_same_bytes_and_events(log: list[Envelope]) -> None:
    def run() -> tuple[bytes, list[tuple[Event, ...]]]:
        machine, seen = StoreMachine(), []
        machine.follow(lambda commit: seen.append(commit.events), lambda: None)
        for index, envelope in enumerate(log, 1):
            machine.apply(index, codec.pack(envelope))
        return b"".join(machine.snapshot()()), seen

    assert run() == run()


@settings(max_examples=150, deadline=None)
@given(logs, commands)
def test_a_command_repeated_at_once_changes_nothing_the_second_time(log: list[Envelope], command: AnyCommand) -> None:
    store = Store()
    for index, envelope in enumerate(log, 1):
        apply(store, index, envelope)
    once = Envelope(client="", sequence=0, time_s=5.0, command=command)
    apply(store, 500, once)
    if isinstance(command, Register | Deregister):
        _result, commit = apply(store, 501, once)
        assert _conflicts_with_itself(command) or commit.events == ()


def _conflicts_with_itself(command: AnyCommand) -> bool:
    """Two checks of one id in one registration overwrite each other each time."""
    return isinstance(command, Register) and len({check.check_id for check in command.checks}) < len(command.checks)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_command_stop_the_server_and_change_nothing(entry: bytes) -> None:
    machine = StoreMachine()
    with pytest.raises(NewerEntry, match="entry 1 of the log"):
        machine.apply(1, entry)
    assert machine.store.index == 0


@given(st.binary(max_size=400))
def test_bytes_that_are_no_snapshot_are_refused_and_leave_the_store(data: bytes) -> None:
    machine = StoreMachine()
    machine.apply(
        1, codec.pack(Envelope(client="", sequence=0, time_s=0, command=Register(node=Node(node="n", address=""))))
    )
    try:
        machine.restore([data])
    except ValueError:
        assert list(machine.store.nodes) == ["n"]
    else:
        raise AssertionError("random bytes were taken for a snapshot")


def test_a_truncated_snapshot_is_refused() -> None:
    machine = StoreMachine()
    command = Register(node=Node(node="n", address="127.0.0.1"))
    machine.apply(1, codec.pack(Envelope(client="a", sequence=1, time_s=0, command=command)))
    data = b"".join(machine.snapshot()())
    for length in range(len(data)):
        try:
            StoreMachine().restore([data[:length]])
        except ValueError:
            continue
        raise AssertionError(f"{length} of {len(data)} bytes were taken for a snapshot")


def test_a_retry_is_applied_once_also_after_a_restore() -> None:
    machine = StoreMachine()
    write = codec.pack(
        Envelope(client="a", sequence=1, time_s=0, command=UpsertConfigEntry(entry=ServiceDefaults(name="web"), cas=0))
    )
    first = machine.apply(5, write)
    assert first.ok
    assert machine.apply(6, write) == first
    other = StoreMachine()
    other.restore(machine.snapshot()())
    assert other.apply(7, write) == first
    assert other.store.entries[("service-defaults", "web")].modify_index == 5


def test_writes_of_one_client_may_arrive_out_of_order() -> None:
    store = Store()

    def write(sequence: int, index: int) -> Applied:
        command = Register(node=Node(node=f"n{sequence}", address="127.0.0.1"))
        return apply(store, index, Envelope(client="a", sequence=sequence, time_s=0, command=command))[0]

    assert write(2, 1).index == 1
    assert write(1, 2).index == 2
    assert write(2, 3).index == 1
    assert set(store.nodes) == {"n1", "n2"}


def test_a_retry_from_too_long_ago_is_refused_rather_than_applied_twice() -> None:
    store = Store()
    for sequence in range(1, 300):
        command = Register(node=Node(node="n", address=str(sequence)))
        apply(store, sequence, Envelope(client="a", sequence=sequence, time_s=0, command=command))
    late = Envelope(client="a", sequence=3, time_s=0, command=Deregister(node="n"))
    assert not apply(store, 300, late)[0].ok
    assert "n" in store.nodes
    assert len(store.sessions.rows()) <= 129


def test_a_watcher_of_web_is_not_woken_by_db() -> None:
    store = Store()
    node = Node(node="n", address="127.0.0.1")

    def put(index: int, name: str, port: int) -> None:
        service = NodeService(id=name, service=name, port=port)
        apply(store, index, Envelope(client="", sequence=0, time_s=0, command=Register(node=node, service=service)))

    put(1, "web", 1)
    put(2, "db", 1)
    put(3, "db", 2)
    assert store.changed.index(Topic(kind=HEALTH, key="web")) == 1
    assert store.changed.index(Topic(kind=HEALTH, key="db")) == 3


def test_a_mesh_service_keeps_its_virtual_address_while_it_is_away() -> None:
    store = Store()
    node = Node(node="n", address="127.0.0.1")
    proxy = NodeService(
        id="p", service="web-proxy", kind="connect-proxy", port=1, proxy=ConnectProxy(destination_service_name="web")
    )
    web = NodeService(id="w", service="web", port=1)

    def do(index: int, command: AnyCommand) -> None:
        apply(store, index, Envelope(client="", sequence=0, time_s=0, command=command))

    do(1, Register(node=node, service=web))
    summary = store.summary("web")
    assert summary is not None
    assert summary.virtual_ip == ""
    do(2, Register(node=node, service=proxy))
    given = store.summary("web")
    assert given is not None
    assert given.virtual_ip == "240.0.0.1"
    do(3, Deregister(node="n", service_id="p"))
    gone = store.summary("web")
    assert gone is not None
    assert gone.virtual_ip == ""
    do(4, Register(node=node, service=proxy))
    again = store.summary("web")
    assert again is not None
    assert again.virtual_ip == "240.0.0.1"


def test_a_check_carries_the_name_and_tags_of_its_service_also_when_they_change() -> None:
    store = Store()
    node = Node(node="n", address="127.0.0.1")
    check = HealthCheck(node="n", check_id="c", service_id="w", status="passing")

    def do(index: int, service: NodeService, checks: tuple[HealthCheck, ...]) -> None:
        command = Register(node=node, service=service, checks=checks)
        apply(store, index, Envelope(client="", sequence=0, time_s=0, command=command))

    do(1, NodeService(id="w", service="web", tags=("v1",)), (check,))
    assert store.checks[("n", "c")].service_tags == ("v1",)
    do(2, NodeService(id="w", service="web", tags=("v2",)), ())
    changed = store.checks[("n", "c")]
    assert (changed.service_name, changed.service_tags, changed.status) == ("web", ("v2",), "passing")


def test_intentions_written_one_by_one_live_in_one_entry_ordered_by_precedence() -> None:
    store = Store()
    for index, name in enumerate(("*", "web", "api"), 1):
        command = UpsertIntention(destination="db", source=SourceIntention(name=name, action="allow"))
        apply(store, index, Envelope(client="", sequence=0, time_s=1_700_000_000, command=command))
    entry = store.entries[("service-intentions", "db")]
    assert isinstance(entry, ServiceIntentions)
    assert [(each.name, each.precedence) for each in entry.sources] == [("api", 9), ("web", 9), ("*", 8)]
    assert entry.sources[0].legacy_create_time == "2023-11-14T22:13:20Z"
    for name in ("api", "web", "*"):
        command = DeleteIntention(destination="db", source=name)
        apply(store, 10, Envelope(client="", sequence=0, time_s=0, command=command))
    assert store.entries == {}


def test_records_of_the_store_never_change_under_a_snapshot() -> None:
    machine = StoreMachine()
    node = Node(node="n", address="127.0.0.1")
    machine.apply(1, codec.pack(Envelope(client="", sequence=0, time_s=0, command=Register(node=node))))
    frozen = machine.snapshot()
    moved = msgspec.structs.replace(node, address="127.0.0.9")
    machine.apply(2, codec.pack(Envelope(client="", sequence=0, time_s=0, command=Register(node=moved))))
    other = StoreMachine()
    other.restore(frozen())
    assert (other.store.index, other.store.nodes["n"].address) == (1, "127.0.0.1")
