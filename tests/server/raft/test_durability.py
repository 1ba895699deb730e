"""What may be said to be durable, against a disk that ends writes when it likes; and how much is kept back for it."""

from __future__ import annotations

import random

import pytest

from chowk.server.raft.durability import HELD_MESSAGES_MAX, Durability
from chowk.server.raft.effects import Persist
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.log import RaftLog
from chowk.server.raft.messages import TimeoutNow
from chowk.server.raft.records import Configuration, Entry, HardState, SnapshotMeta

MESSAGE = TimeoutNow(sender="s1", target="s2", term=1)


class Disk:
    """What a crash now would leave."""

    def __init__(self) -> None:
        self.first = 1
        self.entries: list[Entry] = []

    def write(self, persist: Persist) -> None:
        if persist.install is not None:
            self.first, self.entries = persist.install.index + 1, []
        if persist.entries:
            del self.entries[persist.entries[0].index - self.first :]
            self.entries += persist.entries

    def at(self, index: int) -> Entry | None:
        position = index - self.first
        return self.entries[position] if 0 <= position < len(self.entries) else None


@pytest.mark.parametrize("seed", range(200))
def test_what_is_said_to_be_durable_is_on_the_disk_as_it_is_in_the_log(seed: int) -> None:
    rng = random.Random(seed)
    log, disk, durability = RaftLog(), Disk(), Durability(0)
    writes: list[Persist] = []
    term, floor = 1, 0
    for step in range(200):
        match rng.randrange(7):
            case 0 | 1:
                first = log.last_index + 1
                log.append(
                    [Entry(index, term, data=b"%d" % step) for index in range(first, first + rng.randrange(1, 4))]
                )
                durability.appended(first)
            case 2 if log.last_index > floor:
                term += rng.randrange(2)
                index = rng.randrange(floor + 1, log.last_index + 1)
                log.truncate_from(index)
                durability.truncated(index)
            case 3 if rng.random() < 0.2:
                floor = log.last_index + rng.randrange(3)
                term += 1
                log.reset(floor, term)
                durability.installed(SnapshotMeta(floor, term, Configuration(), 0))
            case 4 | 5:
                persist = durability.take(HardState(term), log, 0.0)
                writes += [persist] if persist is not None else []
            case _ if writes:
                done = rng.randrange(1, len(writes) + 1)
                for persist in writes[:done]:
                    disk.write(persist)
                durability.persisted(writes[done - 1].sequence)
                del writes[:done]
        for entry in log.between(log.anchor_index + 1, durability.durable_index):
            assert disk.at(entry.index) == entry


def test_a_message_waits_for_what_it_tells_of_and_for_nothing_later() -> None:
    log, durability = RaftLog(), Durability(0)
    durability.hold(MESSAGE, durability.everything)
    assert durability.released() == [MESSAGE]
    log.append([Entry(1, 1)])
    durability.appended(1)
    durability.hold(MESSAGE, durability.everything)
    durability.take(HardState(1), log, 0.0)
    log.append([Entry(2, 1)])
    durability.appended(2)
    durability.take(HardState(1), log, 0.0)
    assert durability.released() == []
    durability.persisted(1)
    assert durability.released() == [MESSAGE]


def test_a_disk_that_hangs_keeps_back_a_bounded_number_of_messages() -> None:
    durability = Durability(0)
    durability.hard_state_changed()
    for _ in range(HELD_MESSAGES_MAX + 100):
        durability.hold(MESSAGE, durability.hard_state)
    durability.take(HardState(1), RaftLog(), 0.0)
    durability.persisted(1)
    assert len(durability.released()) == HELD_MESSAGES_MAX


def test_the_oldest_write_under_way_says_since_when_the_disk_is_busy() -> None:
    durability = Durability(0)
    assert durability.writing_since(9.0) == 9.0
    for now in (1.0, 2.0):
        durability.hard_state_changed()
        durability.take(HardState(int(now)), RaftLog(), now)
    assert durability.writing_since(9.0) == 1.0
    durability.persisted(1)
    assert durability.writing_since(9.0) == 2.0


def test_a_write_cannot_end_twice_nor_before_it_began() -> None:
    durability = Durability(0)
    durability.hard_state_changed()
    durability.take(HardState(1), RaftLog(), 0.0)
    durability.persisted(1)
    for sequence in (1, 2):
        with pytest.raises(BrokenInvariant):
            durability.persisted(sequence)
