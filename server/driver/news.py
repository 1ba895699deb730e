"""What only tells a follower that entries are committed waits a moment for a message that tells it too. Used by `engine`.

Of writes one after another, the next one's entries follow within a millisecond: a message, a wake-up of the follower and a
write of the leader's less for each. Nobody waits for this news but who reads the follower's state as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from chowk.server.raft.messages import AppendRequest, Message

NEWS_S: Final = 0.002
"""How long news may wait."""


class HeldNews:
    """One message a follower at most: newer news takes its place. `send` and `flush` are the transport's."""

    def __init__(self, send: Callable[[Message], None], flush: Callable[[], None]) -> None:
        self._send = send
        self._flush = flush
        self._held: dict[str, AppendRequest] = {}
        self._timer: asyncio.TimerHandle | None = None

    def pass_on(self, message: Message) -> None:
        """Send `message`, or hold it back; what is held for its target goes before it, unless it says that itself."""
        held = self._held.pop(message.target, None) if self._held else None
        if isinstance(message, AppendRequest):
            if message.is_news:
                self._held[message.target] = message
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(NEWS_S, self._let_go)
                return
            if held is not None and message.commit >= held.commit and message.prev_index >= held.prev_index:
                held = None
        if held is not None:
            self._send(held)
        self._send(message)
        if not self._held and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        self._timer = None
        held, self._held = self._held, {}
        for message in held.values():
            self._send(message)
        self._flush()
