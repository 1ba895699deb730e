"""Clients, who write, compare and read at any server and retry what they do not know; watchers, who must see every change.

What the clients saw becomes a history for `support.linearizability`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from sim.agenda import Violation
from sim.machine import Command, Event
from sim.server import Server
from sim.waiters import Outcome

from support.linearizability import Kind, Operation

if TYPE_CHECKING:
    from sim.world import World

ATTEMPTS_MAX: Final = 60
GIVES_UP: Final = 0.05
"""How likely a client leaves an operation after an attempt that was not answered."""
TIMEOUT_S: Final = 0.7
PAUSE_S: Final = 0.08


class Client:
    """One operation at a time. A write keeps its sequence in every attempt."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._rng = world.rng
        self.name = f"c{number}"
        self._sequence = 0
        self._leader = ""
        self._operation: Operation | None = None
        self._command: Command | None = None
        self._key = ""
        self._attempt = 0
        self._floor = 0
        self.acknowledged = 0
        world.agenda.after(self._rng.uniform(0.0, 0.5), self._begin)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for nothing."""
        return self._operation is None

    def _begin(self) -> None:
        if self._world.is_over:
            return
        rng, world = self._rng, self._world
        self._key = rng.choice(world.keys)
        self._attempt = 0
        if rng.random() < world.profile.reads:
            self._command = None
            self._operation = Operation(Kind.READ, 0, None, world.agenda.now, math.inf)
        else:
            self._sequence += 1
            value = world.next_number()
            expected = rng.choice((0, world.last_values.get(self._key, 0))) if rng.random() < 0.3 else None
            self._command = Command(self.name, self._sequence, self._key, value, expected)
            kind = Kind.WRITE if expected is None else Kind.COMPARE
            self._operation = Operation(kind, value, expected, world.agenda.now, math.inf)
        world.histories[self._key].append(self._operation)
        self._try(self._operation)

    def _try(self, operation: Operation) -> None:
        if self._operation is not operation:
            return
        world = self._world
        self._attempt += 1
        if self._attempt > ATTEMPTS_MAX:
            self._finish(operation, None)
            return
        running = world.running()
        target = self._choose(running)
        if target is None:
            world.agenda.after(PAUSE_S, self._try, operation)
            return
        attempt = self._attempt
        if self._rng.random() >= world.network.drop:
            world.agenda.after(world.network.delay(), self._arrive, target, operation, attempt)
        world.agenda.after(TIMEOUT_S, self._time_out, operation, attempt)

    def _choose(self, running: list[Server]) -> Server | None:
        """Writes go to whom is thought to lead; reads anywhere."""
        leader = self._world.servers.get(self._leader)
        if self._command is not None and leader is not None and leader.raft is not None and self._rng.random() < 0.8:
            return leader
        return self._rng.choice(running) if running else None

    def _arrive(self, target: Server, operation: Operation, attempt: int) -> None:
        def answer(outcome: Outcome | None) -> None:
            if self._rng.random() >= self._world.network.drop:
                self._world.agenda.after(
                    self._world.network.delay(), self._answered, target, operation, attempt, outcome
                )

        if self._command is None:
            target.read(self._key, answer)
            return
        target.propose(self._command, answer)

    def _time_out(self, operation: Operation, attempt: int) -> None:
        if self._operation is operation and attempt == self._attempt:
            self._leader = ""
            if self._rng.random() < GIVES_UP:
                self._finish(operation, None)
            else:
                self._try(operation)

    def _answered(self, target: Server, operation: Operation, attempt: int, outcome: Outcome | None) -> None:
        if self._operation is not operation:
            return
        if outcome is None or outcome.refused:
            if attempt == self._attempt:
                raft = target.raft
                self._leader = raft.leader if raft is not None and raft.leader != target.id else ""
                self._world.agenda.after(PAUSE_S, self._retry, operation, attempt)
            return
        self._leader = target.id if self._command is not None else self._leader
        self._finish(operation, outcome)

    def _retry(self, operation: Operation, attempt: int) -> None:
        if attempt == self._attempt:
            self._try(operation)

    def _finish(self, operation: Operation, outcome: Outcome | None) -> None:
        """The operation is over for this client; one whose outcome is unknown stays open for ever."""
        world = self._world
        self._operation = None
        if outcome is not None:
            operation.returned_s = world.agenda.now
            if self._command is None:
                operation.value = outcome.value
                if world.invariants.registers_at(outcome.index).get(self._key, 0) != outcome.value:
                    raise Violation(
                        f"{self.name} read {outcome.value} of {self._key} at index {outcome.index}: it was not there"
                    )
            elif outcome.result is not None:
                operation.succeeded = outcome.result.ok
                self.acknowledged += 1
                if outcome.result.ok:
                    world.last_values[self._key] = self._command.value
        elif self._command is None:
            world.histories[self._key].remove(operation)
        world.note(self.name, "done", operation)
        world.agenda.after(self._rng.uniform(0.2, 2.0) * world.profile.think_s, self._begin)


class Watcher:
    """It comes to one server after another and asks for what changed since the index it has; it reads stale state too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._index = 0
        self.registers: dict[str, int] = {}
        world.agenda.after(0.3, self._poll)

    def _poll(self) -> None:
        world = self._world
        running = [server for server in world.running() if server.machine.index >= self._index]
        if running:
            self._watch(world.rng.choice(running))
            key = world.rng.choice(world.keys)
            world.rng.choice(running).read_stale(key, lambda outcome: self._check_stale(outcome, key))
        world.agenda.after(0.4, self._poll)

    def _check_stale(self, outcome: Outcome | None, key: str) -> None:
        """A stale read may be old, but what it shows was so at its index."""
        if outcome is not None and outcome.value != self._world.invariants.registers_at(outcome.index).get(key, 0):
            raise Violation(f"a stale read of {key} at index {outcome.index} shows {outcome.value}")

    def _watch(self, server: Server) -> None:
        """The events after its index, or, when the server has no longer all of them, the whole state."""
        machine, invariants = server.machine, self._world.invariants
        if machine.index == 0 or self._index > machine.index:
            return
        if self._index < machine.events_after:
            self.registers = dict(machine.registers)
        else:
            self._take(server, [event for event in machine.events if event.index > self._index])
        self._index = machine.index
        if self.registers != invariants.registers_at(machine.index):
            raise Violation(f"a watcher at {server.id} holds {self.registers} at {machine.index}")

    def _take(self, server: Server, events: list[Event]) -> None:
        expected = self._world.invariants.events_between(self._index, server.machine.index)
        if events != expected:
            raise Violation(
                f"a watcher at {server.id} saw {events} after {self._index}; it should have seen {expected}"
            )
        for event in events:
            self.registers[event.key] = event.value
