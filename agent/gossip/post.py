"""The way out of the core: packets with broadcasts riding on them, effects in order, and the counters.

Shared by the core's parts, so that a packet that leaves never leaves empty while there is something to pass on.
"""

from __future__ import annotations

from collections.abc import Sequence

from chowk.agent.gossip.broadcasts import BroadcastQueue
from chowk.agent.gossip.codec import PACKET_HEADER_BYTES, encode_message, join_parts
from chowk.agent.gossip.effects import Address, Effect, SendDatagram
from chowk.agent.gossip.messages import Message
from chowk.agent.gossip.settings import MAX_PACKET_BYTES


class Post:
    """`limit` is how often a broadcast goes out; it follows the size of the cluster."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.queue = BroadcastQueue()
        self.counters: dict[str, int] = {}
        self._effects: list[Effect] = []

    def tell(self, effect: Effect) -> None:
        """One more effect."""
        self._effects.append(effect)

    def take_effects(self) -> tuple[Effect, ...]:
        """What is to be performed, in order; each is given once."""
        effects, self._effects = tuple(self._effects), []
        return effects

    def count(self, name: str) -> None:
        """One more of `name`; the names are a fixed set of ours."""
        self.counters[name] = self.counters.get(name, 0) + 1

    def broadcast(self, key: str, message: Message) -> None:
        """To everybody, by and by; it replaces what waits under the same key."""
        self.queue.add(key, encode_message(message))

    def send(self, address: Address, messages: Sequence[Message]) -> None:
        """`messages` to `address` at once, and with them what waits to be passed on."""
        parts = [encode_message(message) for message in messages]
        if self.queue:
            room = MAX_PACKET_BYTES - PACKET_HEADER_BYTES - sum(map(len, parts))
            parts += self.queue.take(room, self.limit)
        self._effects.append(SendDatagram(address, join_parts(parts)))

    def send_bare(self, address: Address, messages: Sequence[Message]) -> None:
        """`messages` to `address`, which may not be there, and nothing else."""
        self._effects.append(SendDatagram(address, join_parts([encode_message(message) for message in messages])))

    def send_broadcasts(self, address: Address) -> None:
        """What waits to be passed on, to `address`."""
        parts = self.queue.take(MAX_PACKET_BYTES - PACKET_HEADER_BYTES, self.limit)
        if parts:
            self._effects.append(SendDatagram(address, join_parts(parts)))
