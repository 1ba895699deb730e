from __future__ import annotations

from chowk.dns import backlog
from chowk.dns.backlog import Backlog, Packet


def packets(*numbers: int) -> list[Packet]:
    return [(bytes([number % 256]), ("127.0.0.1", number)) for number in numbers]


def ports(waiting: Backlog) -> list[int]:
    return [waiting.newest()[1][1] for _ in range(len(waiting))]


def test_the_newest_packet_comes_first_across_batches() -> None:
    waiting = Backlog()
    waiting.add(packets(1, 2), 0.0)
    waiting.add([], 0.5)
    waiting.add(packets(3, 4), 1.0)
    assert len(waiting) == 4
    assert ports(waiting) == [4, 3, 2, 1]
    assert len(waiting) == 0


def test_a_burst_may_wait_for_a_second_and_then_goes_oldest_first() -> None:
    waiting = Backlog()
    waiting.add(packets(1, 2), 0.0)
    waiting.expire(0.0)
    waiting.add(packets(3), 0.4)
    waiting.expire(0.45)
    assert (len(waiting), waiting.dropped) == (3, 0)


def test_a_backlog_that_stands_keeps_only_what_just_came() -> None:
    waiting = Backlog()
    waiting.add(packets(1, 2), 0.0)
    waiting.expire(0.0)
    now = backlog.PATIENCE_S + 0.1
    waiting.add(packets(3), now - backlog.OVERLOAD_LATE_S * 2)
    waiting.add(packets(4), now)
    waiting.expire(now)
    assert waiting.dropped == 3
    assert ports(waiting) == [4]


def test_patience_begins_anew_once_all_is_answered() -> None:
    waiting = Backlog()
    for start in (0.0, backlog.PATIENCE_S + 0.1):
        waiting.add(packets(1), start)
        waiting.expire(start)
        waiting.newest()
        waiting.expire(start)
    waiting.add(packets(2), 2.0)
    waiting.expire(2.0 + backlog.PATIENCE_S / 2)
    assert (len(waiting), waiting.dropped) == (1, 0)


def test_no_more_than_its_bound_waits_and_the_oldest_go() -> None:
    waiting = Backlog()
    for start in range(0, backlog.PACKETS_MAX + 500, 250):
        waiting.add(packets(*range(start, start + 250)), 0.0)
    total = start + 250
    assert len(waiting) == backlog.PACKETS_MAX
    assert waiting.dropped == total - backlog.PACKETS_MAX
    assert ports(waiting)[-1] == total - backlog.PACKETS_MAX
