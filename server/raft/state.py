"""One server's state, and the steps every part of the core takes: a new term, a message, a new entry.

`elections`, `replication`, `reads` and `membership` are functions on it; `core.Raft` is its outside.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

from chowk.server.raft.configurations import Configurations
from chowk.server.raft.durability import Durability
from chowk.server.raft.effects import ReadState
from chowk.server.raft.errors import BrokenInvariant
from chowk.server.raft.lease import Lease
from chowk.server.raft.log import RaftLog
from chowk.server.raft.messages import Message
from chowk.server.raft.progress import Progress
from chowk.server.raft.records import Entry, EntryKind, HardState, Restored, SnapshotMeta
from chowk.server.raft.settings import Settings
from chowk.server.raft.waiting import ForwardedReads, WaitingRead

FIRST_TERM: Final = 1
"""The term of a bootstrapped log's first entry. Nobody leads in it: the first election enters the next."""
QUESTION_BITS: Final = 48
WAIT_MAX: Final = 1.5
"""Election timeouts. Two that time out together ask both and may split the votes, which is rare; a wider range makes every
failover longer instead."""
RETRY_MIN: Final = 0.5
PROMISE_MAX_S: Final = 60.0


class Role(enum.StrEnum):
    """What a server is doing in its term."""

    FOLLOWER = "Follower"
    PRE_CANDIDATE = "PreCandidate"
    CANDIDATE = "Candidate"
    LEADER = "Leader"


class RaftState:
    """Everything the core knows. `applied` is what was handed out to be applied."""

    def __init__(self, id: str, restored: Restored, settings: Settings, rng: random.Random, now: float) -> None:
        self.id = id
        self.settings = settings
        self.rng = rng
        self.hard_state = restored.hard_state
        self.snapshot = restored.snapshot
        self.log = _restored_log(restored)
        self.configurations = Configurations(restored.snapshot, self.log)
        self.durability = Durability(self.log.last_index)
        self.role = Role.FOLLOWER
        self.leader = ""
        self.leader_contact_s = float("-inf")
        self.promised_until_s = float("-inf")
        if restored.hard_state.term > FIRST_TERM:
            # Before a crash it may have answered a leader whose lease still runs. Who never left the first term did not.
            self.promise(0.0, now)
        self.commit = self.applied = restored.snapshot.index if restored.snapshot is not None else 0
        self.votes: dict[str, bool] = {}
        self.progress: dict[str, Progress] = {}
        self.term_start = 0
        self.uncommitted_bytes = 0
        self.round = 0
        self.wants_replication = False
        self.transfer_target = ""
        self.lease = Lease(settings.election_timeout_s)
        self.waiting_reads: deque[WaitingRead] = deque()
        self.forwarded = ForwardedReads(rng.getrandbits(QUESTION_BITS))
        self.read_states: list[ReadState] = []
        self.election_deadline = self.heartbeat_deadline = self.quorum_deadline = self.transfer_deadline = now
        self.wait_for_election(now)

    @property
    def term(self) -> int:
        """The current term."""
        return self.hard_state.term

    @property
    def voters(self) -> tuple[str, ...]:
        """The ids that count now."""
        return self.configurations.latest.voters

    @property
    def is_voter(self) -> bool:
        """Whether this server counts."""
        return self.id in self.voters

    @property
    def may_stand(self) -> bool:
        """Whether this server may ask for votes: it counts, or did before a change that it does not know to be committed.
        It may be the only one that has that change, so that its log lets it vote for nobody else (dissertation 4.2.2)."""
        return self.is_voter or self.id in self.configurations.voters_since(self.commit)

    @property
    def peers(self) -> tuple[str, ...]:
        """The other members, in order."""
        return tuple(member.id for member in self.configurations.latest.members if member.id != self.id)

    @property
    def has_led(self) -> bool:
        """Whether this leader's own term has a committed entry: only then does it know what is committed."""
        return self.role is Role.LEADER and self.commit >= self.term_start

    def quorum_value(self, values: dict[str, float]) -> float:
        """The greatest value that a majority of the voters has reached (a voter that is not in `values` has none)."""
        ranked = sorted((values.get(voter, float("-inf")) for voter in self.voters), reverse=True)
        return ranked[len(ranked) // 2] if ranked else float("-inf")

    def promise(self, seconds: float, now: float) -> None:
        """A leader will count on this server to help no other into an election until then (dissertation 6.4.1)."""
        longest = max(self.settings.election_timeout_s, min(seconds, PROMISE_MAX_S))
        self.promised_until_s = max(self.promised_until_s, now + longest)

    def wait_for_election(self, now: float) -> None:
        """Draw when to ask for votes if no leader is heard until then: never before the promise to one is over."""
        least = max(self.settings.election_timeout_s, self.promised_until_s - now)
        self.election_deadline = now + self.rng.uniform(least, WAIT_MAX * least)

    def wait_for_answers(self, now: float) -> None:
        """Draw when to ask again for votes, this server having asked already: sooner, as nobody leads whom it knows."""
        most = self.settings.election_timeout_s
        self.election_deadline = now + self.rng.uniform(RETRY_MIN * most, most)

    def is_leased(self, now: float) -> bool:
        """Whether a leader may count on this server not to help another into an election (dissertation 4.2.3, 6.4.1).

        A newer term does not end it: the leader that was answered does not know of that term yet.
        """
        if self.role is Role.LEADER:
            return now - self.quorum_contact(now) < self.settings.election_timeout_s
        return now < self.promised_until_s

    def is_stalled(self, now: float) -> bool:
        """Whether this server's own disk has not ended a write for an election timeout: as good as not there."""
        return now - self.durability.writing_since(now) >= self.settings.election_timeout_s

    def quorum_contact(self, now: float) -> float:
        """When a majority was last heard, this leader itself included if it counts."""
        contacts = {server: progress.contact_s for server, progress in self.progress.items()}
        return self.quorum_value({**contacts, self.id: now})

    def set_hard_state(self, term: int, vote: str) -> None:
        """Enter a term, or vote in it."""
        if term < self.term or (term == self.term and self.hard_state.vote not in ("", vote)):
            raise BrokenInvariant(f"{self.hard_state} cannot become term {term}, vote {vote!r}")
        if self.hard_state != HardState(term, vote):
            self.hard_state = HardState(term, vote)
            self.durability.hard_state_changed()

    def become_follower(self, term: int, leader: str, now: float) -> None:
        """Follow in `term`; `leader` "" when it is not known yet."""
        if term > self.term:
            self.set_hard_state(term, "")
        if self.role is not Role.FOLLOWER:
            self.wait_for_election(now)
        self.role = Role.FOLLOWER
        self.leader = leader
        self.votes = {}
        self.progress = {}
        self.transfer_target = ""
        given_up = [read.context for read in self.waiting_reads if not read.server] + self.forwarded.clear()
        self.waiting_reads.clear()
        self.read_states += [ReadState(context, None) for context in given_up]

    def send(self, message: Message) -> None:
        """Send once all that has happened so far is durable."""
        self.durability.hold(message, self.durability.everything)

    def send_early(self, message: Message) -> None:
        """Send once term and vote are durable: a leader may replicate entries while it writes them (dissertation 10.2.1)."""
        self.durability.hold(message, self.durability.hard_state)

    def append_own(self, kind: EntryKind, data: bytes) -> Entry:
        """A leader's new entry."""
        entry = Entry(self.log.last_index + 1, self.term, kind, data)
        self.append((entry,))
        self.uncommitted_bytes += entry.size
        self.wants_replication = True
        return entry

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries after the last; configurations among them are in force at once."""
        if entries:
            self.log.append(entries)
            self.durability.appended(entries[0].index)
            for entry in entries:
                self.configurations.note(entry)

    def truncate_from(self, index: int) -> None:
        """Forget entries that another leader's replace."""
        if index <= self.commit:
            raise BrokenInvariant(f"entry {index} is committed (up to {self.commit}) and cannot be replaced")
        self.log.truncate_from(index)
        self.configurations.truncate_from(index)
        self.durability.truncated(index)

    def commit_to(self, index: int) -> None:
        """Entries up to `index` are committed."""
        if index > self.log.last_index:
            raise BrokenInvariant(f"{index} cannot be committed: the log ends at {self.log.last_index}")
        if index > self.commit:
            if self.role is Role.LEADER:
                own = max(self.commit + 1, self.term_start)
                self.uncommitted_bytes -= self.log.bytes_between(own, index)
            self.commit = index

    def meta_at(self, index: int) -> SnapshotMeta:
        """What a snapshot of everything up to `index` stands for."""
        term = self.log.term_at(index)
        if term is None:
            raise BrokenInvariant(f"a snapshot at {index} is impossible: the log does not know its term")
        configuration_index, configuration = self.configurations.at(index)
        return SnapshotMeta(index, term, configuration, configuration_index)


def _restored_log(restored: Restored) -> RaftLog:
    """The log behind its anchor. Entries that reach back to the first need none; others are anchored at the snapshot if
    they begin right after it, else at their own first, which is covered by the snapshot. Entries that the snapshot does not
    continue are of before it came from another server: what they say, of members too, is nothing to go by."""
    snapshot, entries = restored.snapshot, restored.entries
    if snapshot is None:
        if entries and entries[0].index != 1:
            raise BrokenInvariant(f"the log begins at {entries[0].index} and no snapshot covers what was before")
        return RaftLog(0, 0, entries)
    if not entries:
        return RaftLog(snapshot.index, snapshot.term)
    first = entries[0]
    if first.index > snapshot.index + 1:
        raise BrokenInvariant(f"the log begins at {first.index} and the snapshot ends at {snapshot.index}")
    if first.index == snapshot.index + 1:
        return RaftLog(snapshot.index, snapshot.term, entries)
    position = snapshot.index - first.index
    if position >= len(entries) or entries[position].term != snapshot.term:
        return RaftLog(snapshot.index, snapshot.term)
    return RaftLog(0, 0, entries) if first.index == 1 else RaftLog(first.index, first.term, entries[1:])
