from __future__ import annotations

from chowk.dns import cache
from chowk.dns.cache import Entry, WireCache
from support.dns_lookup import FakeLookup

MARKS = (("health", "web", 0),)


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
