"""The log in memory, against a plain list."""

from __future__ import annotations

import random

import pytest

from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.log import RaftLog
from chowk.server.raft.records import ENTRY_OVERHEAD_BYTES, Entry


def grown(rng: random.Random) -> tuple[RaftLog, list[Entry]]:
    """A log and all its entries, some of them compacted away."""
    term, entries = 1, []
    for index in range(1, rng.randrange(2, 40)):
        term += rng.random() < 0.3
        entries.append(Entry(index, term, data=b"x" * rng.randrange(50)))
    log = RaftLog(0, 0, entries)
    log.compact(rng.randrange(len(entries)))
    return log, entries


@pytest.mark.parametrize("seed", range(100))
def test_agreement_is_the_last_entry_with_no_greater_term(seed: int) -> None:
    rng = random.Random(seed)
    log, entries = grown(rng)
    for _ in range(30):
        index, term = rng.randrange(len(entries) + 5), rng.randrange(15)
        expected = min(index, len(entries))
        while expected > log.anchor_index and entries[expected - 1].term > term:
            expected -= 1
        assert log.agreement(index, term) == expected


@pytest.mark.parametrize("seed", range(100))
def test_a_batch_is_as_long_as_its_bytes_allow_and_never_empty(seed: int) -> None:
    rng = random.Random(seed)
    log, entries = grown(rng)
    first = rng.randrange(log.anchor_index + 1, log.last_index + 1)
    most = rng.randrange(400)
    batch, size = log.batch(first, most)
    assert list(batch) == entries[first - 1 : first - 1 + len(batch)]
    assert size == sum(entry.size for entry in batch) == log.bytes_between(first, first + len(batch) - 1)
    assert size <= most or len(batch) == 1
    following = first + len(batch)
    assert following > len(entries) or size + entries[following - 1].size > most


@pytest.mark.parametrize("seed", range(100))
def test_what_is_kept_is_the_longest_run_within_the_bytes(seed: int) -> None:
    rng = random.Random(seed)
    log, entries = grown(rng)
    last = log.last_index
    wanted, most = rng.randrange(last + 1) + 1, rng.randrange(1000)
    start = log.start_of(wanted, last, most)
    assert start >= max(wanted, log.anchor_index + 1) or start == last + 1
    assert sum(entry.size for entry in entries[start - 1 :]) <= most
    if start > max(wanted, log.anchor_index + 1):
        assert sum(entry.size for entry in entries[start - 2 :]) > most


def test_the_log_refuses_what_it_cannot_do() -> None:
    log = RaftLog(0, 0, [Entry(1, 1), Entry(2, 1), Entry(3, 2)])
    log.compact(2)
    assert (log.anchor_index, log.term_at(2), log.term_at(1), log.term_at(4)) == (2, 1, None, None)
    for deed in (
        lambda: log.append([Entry(9, 2)]),
        lambda: log.between(2, 3),
        lambda: log.truncate_from(2),
        lambda: log.compact(9),
    ):
        with pytest.raises(BrokenInvariant):
            deed()
    log.compact(1)
    assert (log.anchor_index, log.last_index) == (2, 3)


def test_an_entry_costs_more_than_its_data() -> None:
    assert Entry(1, 1, data=b"12345").size == 5 + ENTRY_OVERHEAD_BYTES
