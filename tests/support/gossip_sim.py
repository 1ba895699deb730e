"""A gossip cluster of many cores in one process: virtual time, a network that loses, delays, cuts and pauses, from one seed.

Used by tests/agent/gossip and integration/bench/gossip.py. The same seed gives the same trace.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Iterable
from typing import Any

from chowk.agent.gossip.core import GossipCore
from chowk.agent.gossip.effects import Address, Effect, JoinOutcome, OpenExchange, SendDatagram
from chowk.agent.gossip.settings import Settings
from chowk.core.records.member import Member

SEAL_BYTES = 29
"""What encryption adds to a datagram, counted in the bytes a node sends."""


def node_name(number: int) -> str:
    """As members sort: n0000, n0001, ..."""
    return f"n{number:04}"


def agent_member(
    number: int,
    *,
    name: str = "",
    node_id: str = "",
    role: str = "node",
    host: str = "",
    dc: str = "dc1",
    cluster: str = "",
) -> Member:
    """A member with the tags that an agent of ours has."""
    tags = {
        "role": role,
        "dc": dc,
        "id": node_id or f"{number:08x}-0000-4000-8000-000000000000",
        "build": "1.0.0",
        "vsn": "1",
    }
    if role == "consul":
        tags |= {"port": "8300", "expect": "3"} | ({"cluster": cluster} if cluster else {})
    address = host or f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return Member(name=name or node_name(number), address=address, port=8301, tags=tags)


class Node:
    """One agent: its core, and what it told."""

    def __init__(self, core: GossipCore, address: Address, incarnation: int) -> None:
        self.core = core
        self.address = address
        self.life = incarnation
        self.up = True
        self.paused_until = 0.0
        self.backlog: list[tuple[Any, ...]] = []
        self.told: list[tuple[float, Effect]] = []
        self.bytes_sent = 0
        self.packets_sent = 0
        self.largest_packet = 0
        self.stream_bytes = 0
        self.planned = float("inf")

    def told_of(self, kind: type[Effect]) -> list[Any]:
        """The effects of a kind, in order."""
        return [effect for _, effect in self.told if isinstance(effect, kind)]

    def status(self, name: str) -> str:
        """How it sees a member; "" when it does not know it, "kept" for one held alive."""
        for member in self.core.members():
            if member.name == name:
                return "kept" if member.kept else member.status
        return ""


class GossipCluster:
    """`loss` is the share of datagrams lost, `delay` (shortest, longest) how long one takes, in seconds."""

    def __init__(
        self,
        seed: int,
        settings: Settings | None = None,
        *,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.0002, 0.002),
        trace: bool = False,
        record_members: bool = True,
    ) -> None:
        self.rng = random.Random(seed)
        self.settings = settings or Settings()
        self.loss = loss
        self.delay = delay
        self.now = 0.0
        self.nodes: dict[Address, Node] = {}
        self.by_name: dict[str, Node] = {}
        self._side: dict[Address, int] = {}
        self._events: list[tuple[float, int, tuple[Any, ...]]] = []
        self._order = 0
        self._digest = hashlib.sha256() if trace else None
        self._record = record_members
        self.udp_blocked: set[Address] = set()

    # Building.

    def add(self, me: Member) -> Node:
        """Start an agent (again, where its address is known: a restart without memory)."""
        core = GossipCore(me, self.settings, random.Random(self.rng.getrandbits(64)), self.now)
        address = (me.address, me.port)
        previous = self.nodes.get(address)
        node = Node(core, address, previous.life + 1 if previous else 1)
        self.nodes[address] = node
        self.by_name[me.name] = node
        self._after(node)
        return node

    def grow(self, count: int, *, servers: int = 0, settle: float = 0.0) -> list[Node]:
        """`count` agents, the first `servers` of them servers, each joining one of those before it."""
        nodes: list[Node] = []
        for number in range(len(self.nodes), len(self.nodes) + count):
            nodes.append(self.add(agent_member(number, role="consul" if number < servers else "node")))
        first = next(iter(self.nodes.values()))
        for node in nodes:
            if node is not first:
                self.join(node, first.address)
        self.run(settle)
        return nodes

    def grow_settled(self, count: int, *, servers: int = 0) -> list[Node]:
        """`count` agents that have known each other for long: the state after the last broadcast of the last join."""
        members = [agent_member(number, role="consul" if number < servers else "node") for number in range(count)]
        collector = self.add(members[0])
        for me in members[1:]:
            self._introduce(self.add(me), collector)
        nodes = [self.add(me) for me in members]
        for node in nodes[1:]:
            self._introduce(node, collector)
        if count > 1:
            self._introduce(nodes[0], nodes[1])
        for node in nodes:
            node.told.clear()
            node.stream_bytes = 0
        return nodes

    def _introduce(self, node: Node, other: Node) -> None:
        join_id = node.core.join(other.address, self.now)
        (question,) = (effect for effect in node.core.take_effects() if isinstance(effect, OpenExchange))
        node.core.exchange_answered(join_id, other.core.serve_exchange(question.request, self.now), self.now)
        self._after(node)

    def join(self, node: Node, address: Address) -> int:
        """Ask `address` to take `node` in."""
        join_id = node.core.join(address, self.now)
        self._after(node)
        return join_id

    # Faults.

    def kill(self, node: Node) -> None:
        """Power off, without a word."""
        node.up = False

    def pause(self, node: Node, seconds: float) -> None:
        """Stands still; what arrives meanwhile it gets when it goes on."""
        node.paused_until = self.now + seconds
        self._push(node.paused_until, ("resume", node))

    def partition(self, *sides: Iterable[Node]) -> None:
        """Nothing passes between these sides; who is in none of them talks to nobody else than his like."""
        self._side = {node.address: number for number, side in enumerate(sides, start=1) for node in side}

    def heal(self) -> None:
        """Everybody hears everybody."""
        self._side = {}

    def touch(self, node: Node) -> None:
        """After a request was made of `node.core`: perform its effects."""
        self._after(node)

    # Running.

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until(self.now + seconds)

    def run_until(self, end: float) -> None:
        """Let time pass up to `end`."""
        events = self._events
        while events and events[0][0] <= end:
            self.now, _, event = heapq.heappop(events)
            self._perform(event)
        self.now = end

    def live(self) -> list[Node]:
        """Those that are up."""
        return [node for node in self.nodes.values() if node.up]

    def digest(self) -> str:
        """What happened, in short: equal for equal seeds."""
        if self._digest is None:
            raise ValueError("this cluster keeps no trace")
        return self._digest.hexdigest()

    # What happens.

    def _push(self, at: float, event: tuple[Any, ...]) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, event))

    def _perform(self, event: tuple[Any, ...]) -> None:
        kind, node = event[0], event[1]
        if kind == "resume":
            self._resume(node)
            return
        if not node.up or self.nodes[node.address] is not node:
            if kind == "question":
                self._fail(event, "connection refused")
            return
        if node.paused_until > self.now:
            if kind != "timer":
                node.backlog.append(event)
            return
        self._deliver(event)

    def _deliver(self, event: tuple[Any, ...]) -> None:
        kind, node = event[0], event[1]
        core: GossipCore = node.core
        if kind == "timer":
            if event[2] != node.planned:
                return
            node.planned = float("inf")
            if core.next_deadline() <= self.now:
                core.handle_timer(self.now)
        elif kind == "packet":
            core.receive(event[2], event[3], self.now)
        elif kind == "question":
            asker, request, exchange_id = event[2], event[3], event[4]
            answer = core.serve_exchange(request, self.now)
            node.stream_bytes += len(answer)
            self._push(self.now + self._latency(), ("answer", asker, exchange_id, answer))
        elif kind == "answer":
            core.exchange_answered(event[2], event[3], self.now)
        elif kind == "failed":
            core.exchange_failed(event[2], event[3], self.now)
        if self._digest is not None:
            self._digest.update(repr((self.now, kind, node.address)).encode())
        self._after(node)

    def _resume(self, node: Node) -> None:
        if not node.up or node.paused_until > self.now:
            return
        # A process that goes on finds its timers due and its sockets full.
        node.planned = float("inf")
        core = node.core
        if core.next_deadline() <= self.now:
            core.handle_timer(self.now)
        backlog, node.backlog = node.backlog, []
        for event in backlog:
            self._deliver(event)
        self._after(node)

    def _after(self, node: Node) -> None:
        for effect in node.core.take_effects():
            if isinstance(effect, SendDatagram):
                self._send(node, effect)
            elif isinstance(effect, OpenExchange):
                self._ask(node, effect)
            elif self._record or isinstance(effect, JoinOutcome):
                node.told.append((self.now, effect))
                if self._digest is not None:
                    self._digest.update(repr(effect).encode())
        deadline = node.core.next_deadline()
        if deadline < node.planned:
            node.planned = deadline
            self._push(max(deadline, self.now), ("timer", node, deadline))

    def _send(self, node: Node, effect: SendDatagram) -> None:
        size = len(effect.packet) + SEAL_BYTES
        node.bytes_sent += size
        node.packets_sent += 1
        node.largest_packet = max(node.largest_packet, size)
        target = self.nodes.get(effect.address)
        if target is None or not self._reaches(node.address, effect.address):
            return
        if {node.address, effect.address} & self.udp_blocked or (self.loss and self.rng.random() < self.loss):
            return
        self._push(self.now + self._latency(), ("packet", target, effect.packet, node.address))

    def _ask(self, node: Node, effect: OpenExchange) -> None:
        node.stream_bytes += len(effect.request)
        target = self.nodes.get(effect.address)
        failed = ("failed", node, effect.id, "timed out")
        if target is None or not target.up or not self._reaches(node.address, effect.address):
            self._push(self.now + effect.timeout_s, failed)
        else:
            # TCP sends again what is lost: a loss costs time, not the exchange. Its deadline is the shell's.
            delay = self._latency()
            while self.loss and self.rng.random() < self.loss:
                delay += 0.2
            ask = ("question", target, node, effect.request, effect.id)
            if delay >= effect.timeout_s or target.paused_until > self.now + effect.timeout_s:
                self._push(self.now + effect.timeout_s, failed)
            else:
                self._push(self.now + delay, ask)

    def _fail(self, event: tuple[Any, ...], reason: str) -> None:
        asker, exchange_id = event[2], event[4]
        self._push(self.now + self._latency(), ("failed", asker, exchange_id, reason))

    def _reaches(self, one: Address, other: Address) -> bool:
        return self._side.get(one, 0) == self._side.get(other, 0)

    def _latency(self) -> float:
        shortest, longest = self.delay
        return shortest + (longest - shortest) * self.rng.random()
