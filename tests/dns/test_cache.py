from __future__ import annotations

from chowk.dns import cache
from chowk.dns.cache import Entry, WireCache
from support.dns_lookup import FakeLookup

MARKS = (("health", "web", 0),)


class Counting(FakeLookup):
    """Counts comparisons; `others_changed` is a change that this name does not rest on."""

    def __init__(self) -> None:
        super().__init__()
        self.compared = self.others = 0
        self.ages = False

    @property
    def epoch(self) -> int:
        return self.revision + self.others

    def others_changed(self) -> None:
        self.others += 1

    def generation(self, kind: str, key: str) -> int:
        self.compared += 1
        return self.revision + self.ages


def entry(turns: int = 3, expires_at: float = 10.0, size: int = 100) -> Entry:
    def build(turn: int) -> bytes:
        return b"id" + bytes([turn]) * size

    return Entry(build(0), build, turns, MARKS, expires_at)


def test_replies_come_in_turn_each_built_once() -> None:
    ready = WireCache(FakeLookup())
    ready.put(b"AAquestion", entry(size=1), 1)
    found = [ready.get(b"BBquestion", 0.0) for _ in range(7)]
    assert found == [b"BB" + bytes([turn]) for turn in (1, 2, 0, 1, 2, 0, 1)]


def test_one_turn_is_the_first_reply_for_ever() -> None:
    ready = WireCache(FakeLookup())
    ready.put(b"AAquestion", entry(turns=1, size=1), 1)
    assert [ready.get(b"BBquestion", 0.0) for _ in range(3)] == [b"BB\0"] * 3


def test_another_generation_or_the_end_of_life_drops_the_entry() -> None:
    lookup = FakeLookup()
    ready = WireCache(lookup)
    ready.put(b"AAquestion", entry(), 1)
    assert ready.get(b"BBquestion", 9.9) is not None
    assert ready.get(b"BBquestion", 10.0) is None
    assert len(ready) == 0
    ready.put(b"AAquestion", entry(), 1)
    lookup.changed()
    assert ready.get(b"BBquestion", 0.0) is None
    assert (len(ready), ready.bytes_held) == (0, 0)


def test_generations_are_compared_once_a_change_of_anything() -> None:
    lookup = Counting()
    ready = WireCache(lookup)
    ready.put(b"AAquestion", entry(), 1)
    assert all(ready.get(b"BBquestion", 0.0) for _ in range(20))
    assert lookup.compared == 1
    lookup.others_changed()
    assert all(ready.get(b"BBquestion", 0.0) for _ in range(20))
    assert lookup.compared == 2
    lookup.changed()
    assert ready.get(b"BBquestion", 0.0) is None


def test_what_rests_on_answers_that_age_by_themselves_is_compared_always() -> None:
    lookup = Counting()
    ready = WireCache(lookup)
    ready.put(b"AAquestion", Entry(b"idreply", lambda turn: b"idreply", 1, (("address", "10.0.0.1", 0),), 10.0), 1)
    assert all(ready.get(b"BBquestion", 0.0) for _ in range(5))
    assert lookup.compared == 5
    lookup.ages = True
    assert ready.get(b"BBquestion", 0.0) is None


def test_a_flood_of_names_nobody_repeats_does_not_push_out_those_in_use() -> None:
    ready = WireCache(FakeLookup())
    ready.put(b"AAquestion", entry(), 1)
    for number in range(cache.ENTRIES_MAX * 3):
        ready.put(b"AA" + number.to_bytes(4, "big"), entry(), 1)
        if number % 1000 == 0:
            assert ready.get(b"BBquestion", 0.0) is not None
    assert len(ready) == cache.ENTRIES_MAX


def test_room_is_made_also_when_everything_is_in_use() -> None:
    ready = WireCache(FakeLookup())
    for number in range(cache.ENTRIES_MAX + 100):
        packet = b"AA" + number.to_bytes(4, "big")
        ready.put(packet, entry(), 1)
        assert ready.get(packet, 0.0) is not None
    assert len(ready) == cache.ENTRIES_MAX


def test_the_number_of_entries_is_bounded_and_the_oldest_goes() -> None:
    ready = WireCache(FakeLookup())
    for number in range(cache.ENTRIES_MAX + 50):
        ready.put(b"AA" + number.to_bytes(4, "big"), entry(), 1)
    assert len(ready) == cache.ENTRIES_MAX
    assert ready.get(b"AA" + (49).to_bytes(4, "big"), 0.0) is None
    assert ready.get(b"AA" + (50).to_bytes(4, "big"), 0.0) is not None


def test_the_memory_of_entries_is_bounded_also_when_each_holds_many_instances() -> None:
    ready = WireCache(FakeLookup())
    for number in range(200):
        ready.put(b"AA" + number.to_bytes(4, "big"), entry(), 5000)
        assert ready.bytes_held <= cache.BYTES_MAX
    assert 0 < len(ready) < 10
    ready.clear()
    assert ready.bytes_held == 0
