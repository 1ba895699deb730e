"""The outside of the consensus core: feed it messages, time and proposals; take and perform its effects.

No IO, no clock, no randomness of its own: `now` (monotonic seconds) and `rng` are handed in. Driven by
`server.consensus`, and by simulations. The order is free but for this: a `Persist` is written in its sequence, and
`persisted` says when; the core keeps back what depends on it.
"""

from __future__ import annotations

import random

from chowk.server.raft import description, elections, reads, replication
from chowk.server.raft.configurations import check_change
from chowk.server.raft.description import PeerProgress
from chowk.server.raft.effects import Effects
from chowk.server.raft.errors import BrokenInvariant, ChangeRefused, NotLeading, TooMuchUncommitted
from chowk.server.raft.messages import (
    AppendRequest,
    AppendResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)  # fmt: skip
from chowk.server.raft.progress import Progress
from chowk.server.raft.records import ENTRY_OVERHEAD_BYTES, Configuration, Entry, EntryKind, Restored, SnapshotMeta
from chowk.server.raft.settings import Settings
from chowk.server.raft.state import RaftState, Role


class Raft:
    """One server of a cluster. Make it from what storage `Restored`; a sole voter stands for election at once."""

    def __init__(self, id: str, restored: Restored, settings: Settings, rng: random.Random, now: float) -> None:
        self._state = RaftState(id, restored, settings, rng, now)
        if self._state.voters == (id,):
            elections.campaign(self._state, now)

    # What there is to know.

    @property
    def role(self) -> Role:
        """What this server is doing."""
        return self._state.role

    @property
    def leads(self) -> bool:
        """Whether it leads, and its own term has a committed entry."""
        return self._state.has_led

    @property
    def term_start(self) -> int:
        """The index of the leader's first entry of its term."""
        return self._state.term_start

    @property
    def term(self) -> int:
        """The current term."""
        return self._state.term

    @property
    def leader(self) -> str:
        """The leader's id, "" when unknown."""
        return self._state.leader

    @property
    def leader_contact_s(self) -> float:
        """When a leader was last heard; minus infinity for never."""
        return self._state.leader_contact_s

    def has_lease(self, now: float) -> bool:
        """Whether nobody else can lead at `now`, which must be read from the clock for this question: a read may be served
        once the `commit_index` of then is applied here. What is applied already is not enough: a follower that is quicker
        may have shown the rest. False does not mean that another leads: ask with `read`."""
        state = self._state
        return state.has_led and state.is_voter and (state.voters == (state.id,) or state.lease.is_valid(now))

    @property
    def commit_index(self) -> int:
        """The last index known to be committed."""
        return self._state.commit

    @property
    def last_index(self) -> int:
        """The last index of the log."""
        return self._state.log.last_index

    @property
    def last_term(self) -> int:
        """Its term."""
        return self._state.log.last_term

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The latest snapshot."""
        return self._state.snapshot

    @property
    def configuration(self) -> Configuration:
        """The one in force."""
        return self._state.configurations.latest

    @property
    def configuration_index(self) -> int:
        """The index of its entry."""
        return self._state.configurations.latest_index

    def term_at(self, index: int) -> int | None:
        """The term of an entry; None when it is compacted or not there."""
        return self._state.log.term_at(index)

    def meta_at(self, index: int) -> SnapshotMeta:
        """What a snapshot of the state at an applied `index` stands for."""
        return self._state.meta_at(index)

    # What happens.

    def receive(self, message: Message, now: float) -> None:
        """A message came. Hand over an InstallSnapshot only when all its bytes are here."""
        state = self._state
        if message.target != state.id or not self._is_current(message, now):
            return
        match message:
            case PreVoteRequest():
                elections.answer_pre_vote(state, message, now)
            case PreVoteResponse():
                elections.count_pre_vote(state, message, now)
            case VoteRequest():
                elections.answer_vote(state, message, now)
            case VoteResponse():
                elections.count_vote(state, message, now)
            case AppendRequest():
                replication.follow(state, message, now)
                replication.accept(state, message)
            case InstallSnapshot():
                replication.follow(state, message, now)
                replication.install(state, message)
            case AppendResponse():
                replication.acknowledge(state, message, now)
            case TimeoutNow():
                elections.take_over(state, message, now)
            case ReadIndexRequest():
                reads.request(state, message.sender, message.context)
            case ReadIndexResponse():
                reads.answered(state, message)

    def _is_current(self, message: Message, now: float) -> bool:
        """Enter the message's term if it is newer and may; answer it if it is older and its sender should learn that."""
        state = self._state
        if isinstance(message, PreVoteRequest) or (isinstance(message, PreVoteResponse) and message.granted):
            return True
        if message.term > state.term:
            if isinstance(message, VoteRequest) and not message.transfer and state.is_leased(now):
                return False
            state.become_follower(message.term, "", now)
            return True
        if message.term == state.term:
            return True
        if isinstance(message, VoteRequest):
            state.send(VoteResponse(sender=state.id, target=message.sender, term=state.term, granted=False))
        elif isinstance(message, AppendRequest | InstallSnapshot):
            state.send(
                AppendResponse(
                    sender=state.id,
                    target=message.sender,
                    term=state.term,
                    success=False,
                    prev_index=0,
                    match=0,
                    round=0,
                )
            )
        return False

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None while there is nothing to wait for."""
        state = self._state
        if state.role is not Role.LEADER:
            return state.election_deadline if state.may_stand else None
        if not state.peers:
            return None
        deadline = min(state.heartbeat_deadline, state.quorum_deadline)
        return min(deadline, state.transfer_deadline) if state.transfer_target else deadline

    def handle_timer(self, now: float) -> None:
        """Do what is due; nothing when nothing is."""
        state = self._state
        if state.role is not Role.LEADER:
            if now >= state.election_deadline and state.may_stand:
                elections.campaign(state, now)
            return
        if len(state.voters) > 1 and state.is_stalled(now):
            state.become_follower(state.term, "", now)
            return
        if now >= state.quorum_deadline:
            state.quorum_deadline = state.quorum_contact(now) + state.settings.election_timeout_s
            if now >= state.quorum_deadline:
                state.become_follower(state.term, "", now)
                return
        if state.transfer_target and now >= state.transfer_deadline:
            state.transfer_target = ""
        if now >= state.heartbeat_deadline:
            replication.heartbeat(state, now)

    def propose(self, data: bytes) -> int:
        """Append a command; its index, in the current `term`. NotLeading or TooMuchUncommitted: nothing was written."""
        state = self._state
        self._check_leading()
        size = len(data) + ENTRY_OVERHEAD_BYTES
        if state.uncommitted_bytes > 0 and state.uncommitted_bytes + size > state.settings.uncommitted_bytes_max:
            raise TooMuchUncommitted(f"{state.uncommitted_bytes} bytes wait to be committed")
        return state.append_own(EntryKind.COMMAND, data).index

    def _check_leading(self) -> None:
        if self._state.role is not Role.LEADER:
            raise NotLeading(f"this server is a {self._state.role}")
        if self._state.transfer_target:
            raise NotLeading(f"leadership is being handed to {self._state.transfer_target}")

    def change_configuration(self, configuration: Configuration, now: float) -> int:
        """Append a configuration that differs by one member; its index. It is in force at once (dissertation 4.1)."""
        state = self._state
        self._check_leading()
        if not state.has_led:
            raise ChangeRefused("the leader has not committed an entry of its own term yet")
        if state.configurations.latest_index > state.commit:
            raise ChangeRefused("another change is under way")
        check_change(state.configurations.latest, configuration)
        index = state.append_own(EntryKind.CONFIGURATION, configuration.encode()).index
        state.lease.begin_again()
        for peer in state.peers:
            state.progress.setdefault(peer, Progress(index, now))
        state.progress = {peer: state.progress[peer] for peer in state.peers}
        replication.heartbeat(state, now)
        return index

    def transfer_leadership(self, target: str, now: float) -> None:
        """Hand over to another voter; given up after an election timeout."""
        self._check_leading()
        if target == self._state.id or target not in self._state.voters:
            raise ChangeRefused(f"{target} is no other voter")
        replication.begin_transfer(self._state, target, now)

    def read(self, context: int, _now: float) -> None:
        """Ask what a read must see; a ReadState with `context` (unique among those under way) answers. Reads that are asked
        before the next `take_effects` share one round."""
        reads.request(self._state, "", context)

    def snapshot_taken(self, meta: SnapshotMeta, trailing: int) -> int:
        """A snapshot is durable. The log keeps `trailing` entries before it, for followers that are a little behind, but no
        more than `trailing_bytes_max`. The index up to which the log may be forgotten on disk too; 0 for nothing new."""
        state = self._state
        if meta.index > state.applied:
            raise BrokenInvariant(f"a snapshot at {meta.index} of what is applied up to {state.applied}")
        if state.snapshot is not None and meta.index <= state.snapshot.index:
            return 0
        state.snapshot = meta
        wanted = replication.needed_from(state, meta.index - trailing)
        state.log.compact(state.log.start_of(wanted + 1, meta.index, state.settings.trailing_bytes_max) - 1)
        state.configurations.compact(state.log.anchor_index)
        return state.log.anchor_index

    def snapshot_sent(self, target: str, *, arrived: bool) -> None:
        """The bytes that go with an InstallSnapshot to `target` have all arrived, or will not."""
        replication.snapshot_ended(self._state, target, arrived=arrived)

    def persisted(self, sequence: int, now: float) -> None:
        """Every Persist up to `sequence` is durable."""
        state = self._state
        state.durability.persisted(sequence)
        if state.role is Role.LEADER:
            replication.advance_commit(state, now)

    # What is to be done.

    def take_effects(self, now: float) -> Effects:
        """What to do since the last call. Call it after every other call; perform it, whatever happens meanwhile."""
        state = self._state
        messages = self._released(now)
        reads.advance(state, now)
        if state.role is Role.LEADER and state.wants_replication:
            replication.replicate_all(state, now)
        messages += self._released(now)
        persist = state.durability.take(state.hard_state, state.log, now)
        read_states, state.read_states = tuple(state.read_states), []
        return Effects((persist,) if persist is not None else (), tuple(messages), self._committed(), read_states)

    def _released(self, now: float) -> list[Message]:
        """The messages that may go out. What this server said to itself (its own vote) arrives here, at once."""
        outgoing: list[Message] = []
        while released := self._state.durability.released():
            for message in released:
                if message.target == self._state.id:
                    self.receive(message, now)
                else:
                    outgoing.append(message)
        return outgoing

    def _committed(self) -> tuple[Entry, ...]:
        state = self._state
        last = min(state.commit, state.durability.durable_index, state.applied + state.settings.apply_entries_max)
        if last <= state.applied:
            return ()
        entries = state.log.between(state.applied + 1, last)
        state.applied = last
        return tuple(entries)

    @property
    def has_more(self) -> bool:
        """Whether committed entries remain to be taken: `apply_entries_max` come at a time."""
        return min(self._state.commit, self._state.durability.durable_index) > self._state.applied

    def progress(self) -> dict[str, PeerProgress]:
        """How far each other member is, on the leader; empty elsewhere."""
        return description.progress(self._state)

    def describe(self, now: float | None = None) -> str:
        """One line for people: who it is, what it does, its log, the members, and on the leader how far each is."""
        return description.describe(self._state, now)
