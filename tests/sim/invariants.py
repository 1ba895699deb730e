"""What must be true after every step (Raft's promises, and ours), and what is known of the whole cluster to check it with.

All checks cost as much as what changed in the step, not as much as there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sim.agenda import Violation
from sim.machine import Event, State

from chowk.server.raft.messages import Message, PreVoteRequest, PreVoteResponse, VoteRequest, VoteResponse
from chowk.server.raft.records import Configuration, Entry, EntryKind, SnapshotMeta
from chowk.server.raft.state import RaftState, Role

if TYPE_CHECKING:
    from sim.server import Server
    from sim.world import World


IN_A_ROW_MAX: Final = 8
"""Snapshots that one server may need in a row when nothing is wrong but a network that loses a part of what it carries."""


class Seen:
    """A server as it was after its last step in this life."""

    def __init__(self) -> None:
        self.term = 0
        self.vote = ""
        self.commit = 0
        self.applied = 0
        self.snapshot = 0
        self.machine_index = 0
        self.role = Role.FOLLOWER
        self.configuration_index = 0


class Invariants:
    """Called by the servers with all they do. Violation when a promise is broken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, Seen] = {}
        self._told: dict[str, tuple[int, str]] = {}
        self._votes: dict[int, dict[str, str]] = {}
        self._leaders: dict[int, str] = {}
        self._entries: dict[tuple[int, int], Entry] = {}
        self._previous_terms: dict[tuple[int, int], int] = {}
        self.committed: dict[int, int] = {}
        """The term of the entry at each committed index."""
        self.committed_last = 0
        self._applied: dict[int, Entry] = {}
        self._digests: dict[int, int] = {}
        self._registers: dict[int, dict[str, int]] = {}
        self._effects: dict[tuple[str, int], int] = {}
        self.events: list[Event] = []
        """Every change, in the order of indexes."""
        self._event_places: dict[int, int] = {0: 0}
        self._configurations: dict[int, Configuration] = {0: Configuration()}
        self.snapshots: dict[str, int] = {}
        """How many each server got of another."""
        self._in_a_row: dict[str, int] = {}
        self.last_registers: dict[str, int] = {}
        self.last_applied = 0

    # A server's life.

    def told(self, message: Message) -> None:
        """It said something to another server, which it must not forget."""
        if isinstance(message, PreVoteRequest | PreVoteResponse):
            return
        vote = ""
        if isinstance(message, VoteRequest):
            vote = message.sender
        elif isinstance(message, VoteResponse) and message.granted:
            vote = message.target
        known = self._told.get(message.sender, (0, ""))
        if message.term > known[0] or (message.term == known[0] and vote):
            if message.term == known[0] and known[1] not in ("", vote):
                raise Violation(f"{message.sender} voted for {known[1]} and for {vote} in term {message.term}")
            self._told[message.sender] = message.term, vote
        if vote:
            self._votes.setdefault(message.term, {})[message.sender] = vote

    def started(self, server: Server) -> None:
        """It read its disk. What it said before must still be there."""
        state = state_of(server)
        seen = self._seen[server.id] = Seen()
        term, vote = self._told.get(server.id, (0, ""))
        if state.term < term or (state.term == term and vote not in ("", state.hard_state.vote)):
            raise Violation(f"{server.id}: told others of term {term}, vote {vote!r}; started with {state.hard_state}")
        if state.log.last_term > state.term:
            raise Violation(f"{server.id}: an entry of term {state.log.last_term} survived, term {state.term} did not")
        seen.term, seen.vote = state.term, state.hard_state.vote

    def restored(self, server: Server, meta: SnapshotMeta, state: State) -> None:
        """Its state machine became that of a snapshot."""
        if state.index != meta.index:
            raise Violation(f"{server.id}: the snapshot at {meta.index} holds the state of {state.index}")
        if self._digests.get(meta.index) != state.digest:
            raise Violation(f"{server.id}: the snapshot at {meta.index} is not the state of that index")
        if self._registers[meta.index] != state.registers:
            raise Violation(f"{server.id}: the registers of the snapshot at {meta.index} differ")
        seen = self._seen[server.id]
        if meta.index < seen.machine_index:
            raise Violation(f"{server.id}: a snapshot rolled it back from {seen.machine_index} to {meta.index}")
        seen.machine_index = meta.index
        known = self._configurations.get(meta.configuration_index)
        if known is not None and known != meta.configuration:
            raise Violation(f"{server.id}: the snapshot at {meta.index} names members that index never had")

    # What it writes and applies.

    def written(self, server: Server, entries: Sequence[Entry]) -> None:
        """Log matching: an index and a term name one entry, with one before it."""
        log = state_of(server).log
        if entries:
            self._in_a_row.pop(server.id, None)
        for entry in entries:
            name = (entry.index, entry.term)
            known = self._entries.setdefault(name, entry)
            if known != entry:
                raise Violation(f"{server.id}: two entries of index {entry.index} and term {entry.term}")
            previous = log.term_at(entry.index - 1)
            if previous is not None and self._previous_terms.setdefault(name, previous) != previous:
                raise Violation(f"{server.id}: the logs with entry {name} differ before it")

    def applied(self, server: Server, entry: Entry) -> None:
        """State-machine safety, effects once, and durable before applied."""
        seen = self._seen[server.id]
        if entry.index != seen.machine_index + 1:
            raise Violation(f"{server.id}: applied {entry.index} after {seen.machine_index}")
        seen.machine_index = entry.index
        if self._applied.setdefault(entry.index, entry) != entry:
            raise Violation(f"{server.id}: applied another entry at {entry.index} than others did")
        if not server.disk.durable.holds(entry.index, entry.term):
            raise Violation(f"{server.id}: applied entry {entry.index} before it was durable")
        machine = server.machine
        if self._digests.setdefault(entry.index, machine.digest) != machine.digest:
            raise Violation(f"{server.id}: its state machine differs at {entry.index}")
        if entry.index > self.last_applied:
            self._first_applied(server, entry)
        effect = machine.effect
        if effect is not None:
            name = (effect.client, effect.sequence)
            if self._effects.setdefault(name, entry.index) != entry.index:
                raise Violation(f"{server.id}: {name} took effect at {self._effects[name]} and at {entry.index}")

    def _first_applied(self, server: Server, entry: Entry) -> None:
        self.last_applied = entry.index
        effect = server.machine.effect
        if effect is not None and server.machine.registers.get(effect.key) == effect.value:
            self.last_registers = {**self.last_registers, effect.key: effect.value}
            self.events.append(Event(entry.index, effect.key, effect.value))
        self._registers[entry.index] = self.last_registers
        self._event_places[entry.index] = len(self.events)
        if entry.kind is EntryKind.CONFIGURATION:
            self._configurations[entry.index] = Configuration.decode(entry.data)

    def registers_at(self, index: int) -> dict[str, int]:
        """The state at an applied index."""
        return self._registers.get(index, {})

    def events_between(self, after: int, last: int) -> list[Event]:
        """What changed after one applied index, up to another."""
        return self.events[self._event_places[after] : self._event_places[last]]

    def read_index(self, server: Server, index: int, floor: int) -> None:
        """A read may be served at `index`; when it was asked, `floor` was committed."""
        if index < floor:
            raise Violation(f"{server.id}: a stale read: at {index}, when {floor} was committed before it was asked")

    def snapshot_received(self, server: Server) -> None:
        """Counted for loops."""
        self.snapshots[server.id] = self.snapshots.get(server.id, 0) + 1
        if self._world.is_calm:
            self._in_a_row[server.id] = self._in_a_row.get(server.id, 0) + 1
            if self._in_a_row[server.id] > IN_A_ROW_MAX:
                raise Violation(f"{server.id} gets one snapshot after another, and never the log behind them")

    # After each step.

    def check(self, server: Server) -> None:
        """Everything that concerns this server alone, or it and what is known of the cluster."""
        state, seen = state_of(server), self._seen[server.id]
        snapshot = state.snapshot.index if state.snapshot is not None else 0
        self._check_order(server, state, seen, snapshot)
        if state.role is Role.LEADER and (seen.role is not Role.LEADER or seen.term != state.term):
            self._check_new_leader(server, state)
        if state.role is Role.LEADER and self._world.profile.sure_clocks:
            self._check_lease(server)
        if state.role is Role.LEADER:
            self._check_matches(server, state)
        if state.role is Role.LEADER and state.configurations.latest_index != seen.configuration_index:
            self._check_configuration(server, state)
        if state.configurations.latest_index != seen.configuration_index or snapshot != seen.snapshot:
            self._check_in_force(server, state)
        if state.commit > seen.commit:
            self._check_commit(server, state, max(seen.commit, state.log.anchor_index))
        seen.term, seen.vote, seen.role = state.term, state.hard_state.vote, state.role
        seen.commit, seen.applied, seen.snapshot = state.commit, state.applied, snapshot
        seen.configuration_index = state.configurations.latest_index

    def _check_order(self, server: Server, state: RaftState, seen: Seen, snapshot: int) -> None:
        if state.term < seen.term or (state.term == seen.term and seen.vote not in ("", state.hard_state.vote)):
            raise Violation(f"{server.id}: from term {seen.term}, vote {seen.vote!r} to {state.hard_state}")
        if state.commit < seen.commit or state.applied < seen.applied or snapshot < seen.snapshot:
            raise Violation(
                f"{server.id}: went back from commit {seen.commit}, applied {seen.applied}, {seen.snapshot}"
            )
        purged = state.log.anchor_index
        if not purged <= snapshot <= state.applied <= state.commit <= state.log.last_index:
            raise Violation(
                f"{server.id}: not purged {purged} <= snapshot {snapshot} <= applied {state.applied} <= committed "
                f"{state.commit} <= last {state.log.last_index}"
            )
        if server.machine.index > state.applied and server.machine.index > snapshot:
            raise Violation(f"{server.id}: its state machine is at {server.machine.index}, beyond {state.applied}")

    def _check_new_leader(self, server: Server, state: RaftState) -> None:
        if self._leaders.setdefault(state.term, server.id) != server.id:
            raise Violation(f"two leaders of term {state.term}: {self._leaders[state.term]} and {server.id}")
        votes = {**self._votes.get(state.term, {}), server.id: server.disk.durable.hard_state.vote}
        given = [voter for voter in state.voters if votes.get(voter) == server.id]
        if len(given) <= len(state.voters) // 2:
            raise Violation(f"{server.id} leads term {state.term} with the votes of {given} among {state.voters}")
        for index in range(state.log.anchor_index + 1, self.committed_last + 1):
            term = self.committed.get(index)
            if term is not None and term < state.term and state.log.term_at(index) != term:
                raise Violation(
                    f"{server.id} leads term {state.term} and lacks the committed entry {index} of term {term}"
                )

    def _check_lease(self, server: Server) -> None:
        """While one holds a lease no other leads with one, nor begins to lead."""
        raft = server.raft
        for other in self._world.running():
            other_raft = other.raft
            if other is server or raft is None or other_raft is None or other_raft.term == raft.term:
                continue
            older, newer = (server, other) if raft.term < other_raft.term else (other, server)
            if newer.raft and newer.raft.role is Role.LEADER and older.raft and older.raft.has_lease(older.clock.now()):
                raise Violation(f"{older.id} holds a lease, and {newer.id} leads already")

    def _check_matches(self, server: Server, state: RaftState) -> None:
        """What a leader counts as durable elsewhere is, or was until a leader of a newer term replaced it there: this one's
        count matters no more then, for it can commit nothing that a majority has not (and that is checked by itself)."""
        for peer, progress in state.progress.items():
            term = state.log.term_at(progress.match)
            other = self._world.servers.get(peer)
            if progress.match == 0 or term is None or other is None or other.disk.durable.hard_state.term > state.term:
                continue
            if not other.disk.durable.holds(progress.match, term):
                raise Violation(f"{server.id} counts entry {progress.match} of term {term} at {peer}, who lacks it")

    def _check_configuration(self, server: Server, state: RaftState) -> None:
        """A leader's configuration and the last that is committed anywhere must have no two separate majorities."""
        latest = state.configurations.latest
        committed = self._configurations[max(self._configurations)]
        if committed.voters and not overlap(committed.voters, latest.voters):
            raise Violation(f"{server.id}: majorities of {latest.voters} and of {committed.voters} may not overlap")
        for other in self._world.running():
            rival = state_of(other)
            if rival.log.last_term < state.term and not overlap(rival.voters, latest.voters):
                self._check_rival(server, latest, other)

    def _check_rival(self, server: Server, latest: Configuration, rival: Server) -> None:
        """A server with an older log, and members whose majorities need not overlap the leader's: it must be impossible
        that it is elected by them."""
        state = state_of(rival)
        servers = [self._world.servers[voter] for voter in state.voters if voter in self._world.servers]
        willing = [each.id for each in servers if each.disk.durable.last <= (state.log.last_term, state.log.last_index)]
        if len(willing) > len(state.voters) // 2:
            raise Violation(
                f"{server.id} works with {latest.voters}, and {willing} of {state.voters} could elect {rival.id}"
            )

    def _check_in_force(self, server: Server, state: RaftState) -> None:
        """The configuration in force is the last one of the log, or the snapshot's when there is none in the log."""
        log, index, latest = state.log, state.configurations.latest_index, state.configurations.latest
        kept = log.between(log.anchor_index + 1, log.last_index)
        last = next((entry for entry in reversed(kept) if entry.kind is EntryKind.CONFIGURATION), None)
        if last is not None and (last.index != index or Configuration.decode(last.data) != latest):
            raise Violation(f"{server.id}: the members of index {index} are in force, not those of {last.index}")
        if last is None and (index > log.anchor_index or self._configurations.get(index, latest) != latest):
            raise Violation(f"{server.id}: members are in force that index {index} never had: {latest.voters}")

    def _check_commit(self, server: Server, state: RaftState, after: int) -> None:
        for index in range(after + 1, state.commit + 1):
            term = state.log.term_at(index)
            known = self.committed.get(index)
            if known is None and term is not None:
                self._first_committed(server, state, index, term)
            elif term is not None and known != term:
                raise Violation(f"{server.id}: committed entry {index} of term {term}; another has it of term {known}")

    def _first_committed(self, server: Server, state: RaftState, index: int, term: int) -> None:
        self.committed[index] = term
        self.committed_last = max(self.committed_last, index)
        if index == state.commit:
            voters = (
                state.configurations.latest.voters
                if state.role is Role.LEADER
                else state.configurations.at(index)[1].voters
            )
            if state.role is Role.LEADER and term != state.term:
                raise Violation(
                    f"{server.id} leads term {state.term} and committed entry {index} of {term} by counting"
                )
            servers = self._world.servers
            holding = [voter for voter in voters if voter in servers and servers[voter].disk.durable.holds(index, term)]
            if len(holding) <= len(voters) // 2:
                raise Violation(f"{server.id}: committed entry {index}, durable on {holding} of {voters} only")


def state_of(server: Server) -> RaftState:
    """The inside of a core: the one place where the simulation looks at it."""
    if server.raft is None:
        raise RuntimeError(f"{server.id} is down")
    return server.raft._state


def overlap(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether every majority of the one shares a member with every majority of the other."""
    common = len(set(first) & set(second))
    missing_first = max(0, len(first) // 2 + 1 - (len(first) - common))
    missing_second = max(0, len(second) // 2 + 1 - (len(second) - common))
    return missing_first + missing_second > common
