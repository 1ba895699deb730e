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
