"""Frames folded into items."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chowk.agent.views.fold import Fold
from chowk.core.events import Event, NodeItem, StreamFrame, Topic
from chowk.core.records.node import Node

TOPIC = Topic(kind="nodes")


def event(key: str, address: str | None, index: int = 1) -> Event:
    payload = None if address is None else NodeItem(node=Node(node=key, address=address))
    return Event(topic=TOPIC, key=key, index=index, payload=payload)


def shown(fold: Fold) -> dict[str, str]:
    return {key: item.node.address for key, item in fold.items.items() if isinstance(item, NodeItem)}


def test_nothing_shows_before_the_first_snapshot_is_whole() -> None:
    fold = Fold()
    assert not fold.receive(StreamFrame(index=5, events=(event("a", "1"),), reset=True))
    assert not fold.ready
    assert shown(fold) == {}
    assert fold.receive(StreamFrame(index=5, events=(event("b", "2"),), snapshot_done=True))
    assert fold.ready
    assert shown(fold) == {"a": "1", "b": "2"}
    assert (fold.index, fold.changed_index) == (5, 5)


def test_an_empty_snapshot_is_an_answer_and_shows_as_a_change() -> None:
    fold = Fold()
    assert fold.receive(StreamFrame(index=3, reset=True, snapshot_done=True))
    assert fold.ready
    assert shown(fold) == {}


def test_live_events_change_items_and_a_reader_keeps_what_it_took() -> None:
    fold = Fold()
    fold.receive(StreamFrame(index=1, events=(event("a", "1"),), reset=True, snapshot_done=True))
    before = fold.items
    assert fold.receive(StreamFrame(index=2, events=(event("a", None), event("b", "2"))))
    assert shown(fold) == {"b": "2"}
    assert list(before) == ["a"]


def test_a_heartbeat_moves_the_index_and_is_no_change() -> None:
    fold = Fold()
    fold.receive(StreamFrame(index=1, reset=True, snapshot_done=True))
    assert not fold.receive(StreamFrame(index=9))
    assert (fold.index, fold.changed_index) == (9, 1)


def test_an_event_that_says_what_is_known_is_no_change() -> None:
    fold = Fold()
    fold.receive(StreamFrame(index=1, events=(event("a", "1"),), reset=True, snapshot_done=True))
    assert not fold.receive(StreamFrame(index=2, events=(event("a", "1"), event("zz", None))))
    assert fold.changed_index == 1


def test_a_reset_keeps_the_old_items_until_the_new_snapshot_is_whole() -> None:
    fold = Fold()
    fold.receive(StreamFrame(index=10, events=(event("a", "1"), event("b", "1")), reset=True, snapshot_done=True))
    assert not fold.receive(StreamFrame(index=4, events=(event("b", "9"),), reset=True))
    assert shown(fold) == {"a": "1", "b": "1"}
    assert fold.receive(StreamFrame(index=4, snapshot_done=True))
    assert shown(fold) == {"b": "9"}
    assert fold.index == 4


def test_a_reset_to_the_same_items_is_no_change() -> None:
    fold = Fold()
    for expected in (True, False):
        frame = StreamFrame(index=10, events=(event("a", "1"),), reset=True, snapshot_done=True)
        assert fold.receive(frame) is expected


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.sampled_from("12"))), max_size=5),
        max_size=8,
    )
)
def test_any_run_of_live_frames_ends_where_a_plain_dict_does(frames: list[list[tuple[str, str | None]]]) -> None:
    fold, model = Fold(), {}
    fold.receive(StreamFrame(index=1, reset=True, snapshot_done=True))
    for number, changes in enumerate(frames, start=2):
        before = dict(model)
        for key, value in changes:
            model.pop(key, None) if value is None else model.update({key: value})
        changed = fold.receive(StreamFrame(index=number, events=tuple(event(key, value) for key, value in changes)))
        assert changed or model == before
        assert shown(fold) == model
