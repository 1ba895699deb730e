"""Keys and sessions in `apply`: compare-and-set, locks, lock-delay, what ends a session, indexes that never go back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.core.commands import (
    AnyCommand,
    Applied,
    CreateSession,
    DeleteKey,
    DeleteKeys,
    Deregister,
    DestroySession,
    Envelope,
    PutKey,
    Register,
)
from chowk.core.records.check import CRITICAL, PASSING, SERF_HEALTH_ID, HealthCheck
from chowk.core.records.kv import KVEntry
from chowk.core.records.node import Node
from chowk.core.records.session import DELETE, Session
from chowk.server.state import kv_table, ordered_entries
from chowk.server.state.kv_table import key_topic, prefix_topic
from chowk.server.state.machine import StoreMachine, apply
from chowk.server.state.ordered_entries import OrderedEntries
from chowk.server.state.snapshot import freeze, thaw
from chowk.server.state.store import Store

KEYS = (b"a", b"a/", b"a/b", b"a/b/c", b"a0", b"b", b"\x00", b"\xff\xfe", b"a/\xff")


class World:
    def __init__(self) -> None:
        self.store = Store()
        self.index = 0

    def do(self, command: AnyCommand, time_s: float = 1000.0) -> Applied:
        self.index += 1
        result, self.commit = apply(
            self.store, self.index, Envelope(client="", sequence=0, time_s=time_s, command=command)
        )
        return result

    def with_node(self, status: str = PASSING) -> World:
        check = HealthCheck(node="n1", check_id=SERF_HEALTH_ID, status=status)
        self.do(Register(node=Node(node="n1", address="127.0.0.1"), checks=(check,)))
        return self

    def session(self, id: str = "s", **fields: object) -> str:
        assert self.do(CreateSession(session=Session(id=id, node="N1", **fields))).ok  # type: ignore[arg-type]
        return id

    def entry(self, key: bytes = b"k") -> KVEntry:
        return self.store.kv.entries[key]


def test_a_compare_and_set_writes_only_what_it_was_computed_from() -> None:
    world = World()
    assert world.do(PutKey(key=b"k", value=b"1", cas=0)).ok
    assert not world.do(PutKey(key=b"k", value=b"2", cas=0)).ok
    assert not world.do(PutKey(key=b"k", value=b"2", cas=7)).ok
    assert world.do(PutKey(key=b"k", value=b"2", cas=1)).ok
    assert (world.entry().value, world.entry().create_index, world.entry().modify_index) == (b"2", 1, 4)
    assert not world.do(DeleteKey(key=b"k", cas=1)).ok
    assert world.do(DeleteKey(key=b"k", cas=4)).ok
    assert world.do(DeleteKey(key=b"k", cas=4)).ok, "what is gone already is deleted"
    assert not world.store.kv.entries


def test_writing_what_is_there_changes_nothing_and_wakes_nobody() -> None:
    world = World()
    world.do(PutKey(key=b"k", value=b"1"))
    assert world.do(PutKey(key=b"k", value=b"1")).ok
    assert (world.entry().modify_index, world.commit.topics) == (1, frozenset())


def test_a_lock_has_one_holder_and_counts_its_holders() -> None:
    world = World().with_node()
    first, second = world.session("s1"), world.session("s2")
    assert world.do(PutKey(key=b"k", value=b"1", acquire=first)).ok
    assert not world.do(PutKey(key=b"k", acquire=second)).ok
    assert world.do(PutKey(key=b"k", value=b"2", acquire=first)).ok
    assert (world.entry().value, world.entry().session, world.entry().lock_index) == (b"2", first, 1)
    assert world.do(PutKey(key=b"k", value=b"3")).ok, "a lock is advisory"
    assert world.entry().session == first
    assert not world.do(PutKey(key=b"k", release=second)).ok
    assert world.do(PutKey(key=b"k", release=first)).ok
    assert world.do(PutKey(key=b"k", acquire=second)).ok, "no lock-delay after a release"
    assert world.entry().lock_index == 2
    refused = world.do(PutKey(key=b"k", acquire="none"))
    assert (refused.ok, refused.value) == (False, 'invalid session "none"')


@pytest.mark.parametrize(
    "ending",
    [
        DestroySession(id="s"),
        Deregister(node="n1"),
        Deregister(node="n1", check_id=SERF_HEALTH_ID),
        Register(
            node=Node(node="n1", address="127.0.0.1"),
            checks=(HealthCheck(node="n1", check_id=SERF_HEALTH_ID, status=CRITICAL),),
        ),
    ],
    ids=["destroyed", "node gone", "check gone", "check critical"],
)
def test_a_session_ends_in_the_very_commit_that_ends_what_it_depends_on(ending: AnyCommand) -> None:
    world = World().with_node()
    world.session()
    world.do(PutKey(key=b"k", acquire="s"))
    world.do(ending)
    assert not world.store.session_table.records
    assert (world.entry().session, world.entry().modify_index) == ("", world.index)
    assert key_topic(b"k") in world.commit.topics
    assert not world.store.kv.held


def test_a_session_that_deletes_takes_its_keys_with_it() -> None:
    world = World().with_node()
    world.session(behavior=DELETE)
    world.do(PutKey(key=b"k", acquire="s"))
    world.do(DestroySession(id="s"))
    assert not world.store.kv.entries
    assert world.store.last_changed(key_topic(b"k")) == world.index


def test_nobody_acquires_within_the_lock_delay_whatever_clocks_say_later() -> None:
    world = World().with_node()
    world.session(lock_delay_s=15.0)
    world.do(PutKey(key=b"k", acquire="s"))
    world.do(DestroySession(id="s"), time_s=1000.0)
    other = world.session("s2")
    assert not world.do(PutKey(key=b"k", acquire=other), time_s=1014.9).ok
    assert not world.do(PutKey(key=b"k", acquire=other), time_s=999.0).ok, "a new leader's clock is a little behind"
    copy = thaw(freeze(world.store)())
    assert copy.kv.delays == world.store.kv.delays
    assert world.do(PutKey(key=b"k", value=b"x"), time_s=1001.0).ok, "others may write"
    assert world.do(PutKey(key=b"k", acquire=other), time_s=1015.0).ok


def test_a_clock_an_hour_off_does_not_lock_a_key_for_an_hour() -> None:
    world = World().with_node()
    world.session()
    world.do(PutKey(key=b"k", acquire="s"))
    world.do(DestroySession(id="s"), time_s=4600.0)
    assert world.do(PutKey(key=b"k", acquire=world.session("s2")), time_s=1000.0).ok


@pytest.mark.parametrize(
    ("status", "session", "why"),
    [
        (CRITICAL, Session(id="s", node="n1"), "Check 'serfHealth' is in critical state"),
        (PASSING, Session(id="s", node="n1", node_checks=("x",)), "Missing check 'x' registration"),
        (PASSING, Session(id="s", node="n2"), "Missing node registration"),
    ],
)
def test_a_session_is_refused_when_what_it_depends_on_is_not_well(status: str, session: Session, why: str) -> None:
    result = World().with_node(status).do(CreateSession(session=session))
    assert (result.ok, result.value) == (False, why)


commands = st.one_of(
    st.builds(PutKey, key=st.sampled_from(KEYS), value=st.sampled_from((b"", b"1", b"2"))),
    st.builds(DeleteKey, key=st.sampled_from(KEYS)),
    st.builds(DeleteKeys, prefix=st.sampled_from((b"", *KEYS))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(commands, max_size=40), st.integers(1, 8), st.integers(1, 4))
def test_the_index_of_a_key_or_prefix_moves_when_it_changed_and_never_goes_back(
    log: list[AnyCommand], tombstones: int, prefixes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_table, "TOMBSTONES_MAX", tombstones)
        patch.setattr(kv_table, "TOMBSTONES_KEPT", tombstones // 2)
        patch.setattr(kv_table, "PREFIXES_MAX", prefixes)
        patch.setattr(ordered_entries, "CHUNK_MAX", 2)
        world = World()
        topics = [*map(key_topic, KEYS), *map(prefix_topic, (b"", *KEYS))]
        for command in log:
            before = {topic: world.store.last_changed(topic) for topic in topics}
            old = dict(world.store.kv.entries)
            world.do(command)
            new = world.store.kv.entries
            changed = {key for key in {*old, *new} if old.get(key) != new.get(key)}
            for key in KEYS:
                index = world.store.last_changed(key_topic(key))
                assert index >= before[key_topic(key)]
                if key in changed:
                    assert index == world.index
            for prefix in (b"", *KEYS):
                index = world.store.last_changed(prefix_topic(prefix))
                assert index >= before[prefix_topic(prefix)]
                if any(key.startswith(prefix) for key in changed):
                    assert index == world.index
            assert [entry.key for entry in world.store.kv.under(b"")] == sorted(new)
        copy = thaw(freeze(world.store)())
        assert (copy.kv.entries, copy.kv.tombstones) == (world.store.kv.entries, world.store.kv.tombstones)
        for topic in topics:
            assert copy.last_changed(topic) >= world.store.last_changed(topic)


def test_a_quiet_prefix_keeps_its_index_while_others_change() -> None:
    world = World()
    world.do(PutKey(key=b"a/1"))
    quiet = world.store.last_changed(prefix_topic(b"a/"))
    for number in range(50):
        world.do(PutKey(key=b"b/%d" % number))
        world.do(DeleteKey(key=b"b/%d" % number))
    world.do(DeleteKeys(prefix=b"b"))
    assert world.store.last_changed(prefix_topic(b"a/")) == quiet


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=3), unique=True, max_size=3000), st.binary(max_size=2))
def test_entries_stay_in_order_through_splits_and_cuts(keys: list[bytes], prefix: bytes) -> None:
    order = OrderedEntries()
    for key in keys:
        order.put(KVEntry(key=key))
    assert [entry.key for entry in order.under(prefix)] == sorted(key for key in keys if key.startswith(prefix))
    for key in keys[::3]:
        assert order.take(key).key == key
    left = [key for number, key in enumerate(keys) if number % 3]
    removed = [entry for chunk in order.take_under(prefix) for entry in chunk]
    assert [entry.key for entry in removed] == sorted(key for key in left if key.startswith(prefix))
    assert [entry.key for entry in order.under(b"")] == sorted(key for key in left if not key.startswith(prefix))
    assert not order.has_under(prefix)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("put", "take", "take all")), st.sampled_from(KEYS)), max_size=60))
def test_the_newest_of_a_prefix_is_that_of_what_is_there(steps: list[tuple[str, bytes]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered_entries, "CHUNK_MAX", 2)
        order, expected = OrderedEntries(), dict[bytes, KVEntry]()
        for index, (what, key) in enumerate(steps, 1):
            if what == "put":
                entry = KVEntry(key=key, modify_index=index)
                assert order.put(entry) == expected.get(key)
                expected[key] = entry
            elif what == "take all":
                gone = [entry.key for chunk in order.take_under(key) for entry in chunk]
                assert gone == sorted(each for each in expected if each.startswith(key))
                expected = {each: entry for each, entry in expected.items() if not each.startswith(key)}
            elif key in expected:
                assert order.take(key) == expected.pop(key)
            assert (order == expected, len(order), bool(order)) == (True, len(expected), bool(expected))
            assert list(order) == sorted(expected)
            for prefix in (b"", *KEYS):
                under = [entry.modify_index for each, entry in expected.items() if each.startswith(prefix)]
                assert order.newest_under(prefix) == max(under, default=0)


def test_a_large_tree_is_removed_by_the_chunk_and_freed_later() -> None:
    world = World().with_node()
    for number in range(20_000):
        world.store.kv.put(KVEntry(key=b"t/%05d" % number, modify_index=2))
    world.do(PutKey(key=b"t", value=b"stays"))
    world.do(PutKey(key=b"t/00007", acquire=world.session()))
    world.do(DeleteKeys(prefix=b"t/"))
    assert list(world.store.kv.entries) == [b"t"]
    assert not world.store.kv.held
    assert world.store.last_changed(key_topic(b"t/00001")) == world.index
    left = sum(map(len, world.store.left))
    assert left == 20_000
    assert world.store.let_go()
    assert 0 < left - sum(map(len, world.store.left)) <= 1000
    while world.store.let_go():
        pass
    assert not world.store.left
    assert thaw(freeze(world.store)()).kv.entries == world.store.kv.entries


def test_many_keys_split_chunks_and_stay_in_order() -> None:
    order = OrderedEntries()
    numbers = [number * 7919 % 5000 for number in range(5000)]
    for number in numbers:
        order.put(KVEntry(key=b"%05d" % number))
    assert [entry.key for entry in order.under(b"")] == [b"%05d" % number for number in range(5000)]
    assert sum(map(len, order.take_under(b"01"))) == 1000
    assert len(order.under(b"0")) == 4000


def test_a_snapshot_of_a_release_without_keys_loads() -> None:
    machine, world = StoreMachine(), World().with_node()
    data = b"".join(freeze(world.store)())
    assert b"kv" not in data, "and one without keys has nothing of them, so that the last release loads it"
    machine.restore([data])
    assert not machine.store.kv.entries
