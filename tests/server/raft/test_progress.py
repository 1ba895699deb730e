from __future__ import annotations

from chowk.server.raft.progress import Pace, Progress


def sent(index: int) -> Progress:
    """A server whose snapshot at `index` arrived, all its bytes, and who did not say yet that it is in force."""
    progress = Progress(1, 0.0)
    progress.await_snapshot(index)
    progress.probe()
    progress.next = index + 1
    progress.installs_until_s = 4.0
    return progress


def test_the_log_behind_a_snapshot_is_needed_until_the_snapshot_is_in_force() -> None:
    progress = Progress(1, 0.0)
    assert not progress.needs_what_follows
    progress.await_snapshot(9)
    assert progress.needs_what_follows
    progress = sent(9)
    assert progress.needs_what_follows
    progress.acknowledge(9, 9)
    assert not progress.needs_what_follows
    assert progress.pace is Pace.REPLICATE


def test_the_log_is_not_kept_for_one_that_is_silent_but_for_bytes_under_way() -> None:
    progress = sent(9)
    progress.forget_snapshot()
    assert not progress.needs_what_follows
    progress.await_snapshot(9)
    progress.forget_snapshot()
    assert progress.needs_what_follows


def test_a_refusal_from_before_the_snapshot_is_in_force_says_nothing_for_a_while() -> None:
    progress = sent(9)
    assert progress.is_installing(5, 3.9)
    assert not progress.is_installing(5, 4.1)
    assert not progress.is_installing(9, 3.9)
    progress.acknowledge(9, 9)
    assert not progress.is_installing(5, 3.9)


def test_a_server_that_lost_what_it_acknowledged_is_sent_it_again() -> None:
    progress = Progress(10, 0.0)
    progress.acknowledge(9, 9)
    assert not progress.refuse(9, 4)
    assert not progress.refuse(9, 4)
    assert (progress.match, progress.relapses) == (9, 0)
    assert progress.refuse(9, 4)
    assert (progress.match, progress.next, progress.pace, progress.relapses) == (4, 5, Pace.PROBE, 1)
    progress.acknowledge(9, 9)
    assert (progress.match, progress.pace) == (9, Pace.REPLICATE)


def test_old_refusals_between_answers_take_nothing_back() -> None:
    progress = Progress(10, 0.0)
    progress.acknowledge(9, 9)
    for _ in range(5):
        assert not progress.refuse(9, 4)
        assert not progress.refuse(3, 2)
        progress.acknowledge(9, 9)
    assert (progress.match, progress.relapses) == (9, 0)


def test_a_refusal_of_an_old_leaders_message_is_none_of_what_was_acknowledged() -> None:
    progress = Progress(10, 0.0)
    for match in (0, 9):
        progress.acknowledge(match, match)
        for _ in range(5):
            assert not progress.refuse(0, 0)
        assert (progress.match, progress.relapses) == (match, 0)
