"""The twenty classic bugs of RELIABILITY.md, each as an edit of the core, or of what is around it. In the test tree only.

Where two safeguards stand against one bug, both are taken away; all else stays as it is.
"""

from __future__ import annotations

from typing import Final

from sim.mutants.edits import Edit, Mutant

RAFT: Final = "chowk.server.raft."
ADVANCE_COMMIT: Final = RAFT + "replication:advance_commit"
ACCEPT: Final = RAFT + "replication:accept"
INSTALL: Final = RAFT + "replication:install"
IS_CURRENT: Final = RAFT + "core:Raft._is_current"
RESET: Final = RAFT + "configurations:Configurations.reset"
SNAPSHOT_HISTORY: Final = "[(snapshot.configuration_index, snapshot.configuration)]"
SAME_TERM: Final = "if message.term == state.term:"
ANY_SNAPSHOT: Final = "if meta.index > state.commit:"

MUTANTS: Final = (
    Mutant(
        1,
        "an entry of a prior term is committed by counting",
        "deposed",
        (Edit(ADVANCE_COMMIT, " or state.log.term_at(int(reached)) != state.term", ""),),
    ),
    Mutant(
        2,
        "a stale append truncates",
        "mixed",
        (Edit(ACCEPT, "if state.log.term_at(entry.index) != entry.term:", "if True:"),),
    ),
    Mutant(
        3,
        "commit is moved past the last verified entry",
        "mixed",
        (Edit(ACCEPT, "min(message.commit, agreed)", "min(message.commit, state.log.last_index)"),),
    ),
    Mutant(
        4,
        "term and vote are not durable",
        "mixed",
        (Edit(RAFT + "durability:Durability.take", "hard_state if self._hard_changed else None", "None"),),
    ),
    Mutant(
        5,
        "the log is persisted before the term",
        "deposed",
        (
            Edit("sim.disk:beginnings", "yield hard_state, []", "yield hard_state, entries"),
            Edit("sim.disk:beginnings", "yield hard_state, entries[:count]", "yield None, entries[:count]"),
        ),
    ),
    Mutant(
        6,
        "a response is accepted without a look at its term",
        "deposed",
        (
            Edit(
                IS_CURRENT,
                SAME_TERM,
                "if message.term == state.term or isinstance(message, AppendResponse | VoteResponse):",
            ),
        ),
    ),
    Mutant(
        7,
        "the membership is changed before an entry of the leader's own term is committed",
        "rivals",
        (Edit(RAFT + "core:Raft.change_configuration", "if not state.has_led:", "if False:"),),
    ),
    Mutant(
        8,
        "the configuration is taken from stale trailing entries after a remote snapshot",
        "members",
        (
            Edit(
                RESET,
                SNAPSHOT_HISTORY,
                f"{SNAPSHOT_HISTORY} + [known for known in self._history if known[0] > snapshot.configuration_index]",
            ),
        ),
    ),
    Mutant(
        9,
        "an old snapshot rolls the state back",
        "snapshots",
        (
            Edit(INSTALL, ANY_SNAPSHOT, "if True:"),
            Edit(
                "sim.server:Server._receive_snapshot", "if message.meta.index <= self._core.commit_index:", "if False:"
            ),
        ),
    ),
    Mutant(
        10,
        "a snapshot is installed again and again",
        "snapshots",
        (
            Edit(RAFT + "replication:needed_from", "return min([index, *(", "return max([index, *("),
            Edit(RAFT + "replication:acknowledge", "if not progress.is_installing(agreement, now):", "if True:"),
        ),
    ),
    Mutant(
        11,
        "a server that comes back disrupts the others",
        "stable",
        (Edit(RAFT + "elections:campaign", "if state.voters == (state.id,):", "if True:"),),
    ),
    Mutant(
        12,
        "partial connectivity keeps a leader that can do nothing, and no other comes",
        "stable",
        (Edit(RAFT + "core:Raft.handle_timer", "= state.quorum_contact(now) +", "= now +"),),
    ),
    Mutant(
        13,
        "a read index is served before an entry of the leader's own term is committed",
        "elections",
        (
            Edit(RAFT + "reads:advance", "not state.has_led or ", ""),
            Edit(RAFT + "reads:ride", "if state.has_led:", "if True:"),
        ),
    ),
    Mutant(
        14,
        "a lease is a flag: a read is served by it after a pause",
        "mixed",
        (Edit(RAFT + "lease:Lease.is_valid", "now - self._began_s < self._length_s", 'self._began_s > float("-inf")'),),
    ),
    Mutant(
        15,
        "the end of an old write is taken for that of a new one at the same index",
        "elections",
        (
            Edit(
                RAFT + "durability:Durability.truncated",
                "self._cap(first - 1, first - 1)",
                "self.durable_index = min(self.durable_index, first - 1)",
            ),
        ),
    ),
    Mutant(
        16,
        "a single server acknowledges before its fsync",
        "single",
        (
            Edit(ADVANCE_COMMIT, "= state.durability.durable_index", "= state.log.last_index"),
            Edit(RAFT + "core:Raft._committed", "state.commit, state.durability.durable_index,", "state.commit,"),
        ),
    ),
    Mutant(
        17,
        "a second snapshot comes while the first is installed",
        "snapshots",
        (
            Edit("sim.server:Server._receive_snapshot", "if self._receiving:", "if False:"),
            Edit("sim.server:Server._installed", "self._restore(meta, self._received[meta])", "self._load()"),
        ),
    ),
    Mutant(
        18,
        "members that are gone are back after a snapshot",
        "members",
        (
            Edit(
                RESET,
                "snapshot.configuration)]",
                "__import__('functools').reduce(Configuration.joined_by, snapshot.configuration.members, self.latest))]",
            ),
        ),
    ),
    Mutant(
        19,
        "the own vote counts when it comes after the election was lost",
        "elections",
        (
            Edit(RAFT + "core:Raft._released", "if message.target == self._state.id:", "if False:"),
            Edit(IS_CURRENT, SAME_TERM, "if message.term == state.term or message.sender == state.id:"),
            Edit(
                RAFT + "elections:count_vote", "if state.role is Role.CANDIDATE:", "if state.role is not Role.LEADER:"
            ),
            Edit(RAFT + "state:RaftState.become_follower", "    self.votes = {}\n", ""),
        ),
    ),
    Mutant(
        20,
        "a leader that is removed counts itself",
        "members",
        (
            Edit(
                RAFT + "state:RaftState.quorum_value",
                "for voter in self.voters",
                "for voter in {*self.voters, self.id}",
            ),
        ),
    ),
)
