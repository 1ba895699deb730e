"""What the simulation found in the core, each as small as it gets."""

from __future__ import annotations

import random

from chowk.server.raft.core import Raft
from chowk.server.raft.messages import PreVoteRequest
from chowk.server.raft.records import Configuration, Entry, EntryKind, HardState, Member, Restored, bootstrap_entry
from chowk.server.raft.settings import Settings

BOTH = Configuration((Member("a", "a"), Member("b", "b")))


def test_a_leader_that_removed_itself_and_was_cut_off_stands_again_since_its_log_lets_nobody_else_win() -> None:
    removal = Entry(2, 2, EntryKind.CONFIGURATION, BOTH.left_by("a").encode())
    raft = Raft(
        "a", Restored(HardState(2, "a"), None, (bootstrap_entry(BOTH), removal)), Settings(), random.Random(1), 0.0
    )
    deadline = raft.next_deadline()
    assert deadline is not None
    raft.handle_timer(deadline)
    assert [(type(each), each.target) for each in raft.take_effects(deadline).messages] == [(PreVoteRequest, "b")]


def test_a_server_that_was_never_a_member_does_not_stand() -> None:
    raft = Raft("c", Restored(HardState(1), None, (bootstrap_entry(BOTH),)), Settings(), random.Random(1), 0.0)
    assert raft.next_deadline() is None
