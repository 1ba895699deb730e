"""Keep-alive connections to one server: an instance's sidecar, or the application. Who finds none waits; few are dialled at
once, and whoever waits longest gets the first that is free. Made by `http_outbound` and `http_inbound`.

Bounds: at most IDLE_MAX idle ones (and Roster.idle in the process), DIALS_MAX dials at once, WAITERS_MAX waiting; `room` and
`pending` are the cluster's breakers. What is over them is refused at once (`PoolFull`).
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from chowk.connect.limits.gate import Gate
from chowk.connect.proxy.http_client import ClientConnection
from chowk.connect.proxy.state import ProxyState
from chowk.connect.proxy.tally import Tally
from chowk.connect.proxy.wires import TlsWire, Wire

IDLE_MAX: Final = 256
DIALS_MAX: Final = 32
WAITERS_MAX: Final = 4096


class PoolFull(Exception):
    """No connection now, and no room to wait for one."""


class Waiter(Protocol):
    """Who needs a connection."""

    def connected(self, connection: ClientConnection) -> None:
        """Here is one; it is the waiter's until `end_call`."""

    def unreachable(self, reason: str) -> None:
        """There is none: the server could not be reached."""


class Pool:
    """`dial` makes a wire (OSError or TimeoutError when it cannot). `room`: connections of the cluster there may be; who is
    asked to `make_room` when there is none. `context`: what a wire must have been made with to be kept (None: any).
    """

    def __init__(
        self,
        state: ProxyState,
        dial: Callable[[], Awaitable[Wire]],
        *,
        idle_s: float,
        tally: Tally | None = None,
        room: Gate | None = None,
        pending: Gate | None = None,
        make_room: Callable[[], None] | None = None,
        context: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        self.open = 0
        self._state = state
        self._dial = dial
        self._idle_s = idle_s
        self._tally = tally
        self._room = room or Gate(0)
        self._pending = pending or Gate(0)
        self._make_room = make_room
        self._context_now = context
        self._context: ssl.SSLContext | None = None
        self._idle: list[ClientConnection] = []
        self._waiters: dict[Waiter, None] = {}
        self._dialling = 0
        self._retired = False
        state.http.pools[self] = None

    @property
    def idle(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    def acquire(self, waiter: Waiter) -> ClientConnection | None:
        """The connection used last, if there is an idle one; None: `waiter` will hear. PoolFull."""
        while self._idle:
            connection = self._idle.pop()
            self._state.http.idle.leave()
            if connection.alive:
                return connection
        self.wait(waiter)
        return None

    def wait(self, waiter: Waiter) -> None:
        """As `acquire`, for who has just seen an idle connection die under it: the others may be as dead. PoolFull."""
        if len(self._waiters) >= WAITERS_MAX or not self._pending.enter():
            raise PoolFull
        self._waiters[waiter] = None
        self.dial_more()

    def withdraw(self, waiter: Waiter) -> None:
        """It waits no more."""
        if waiter in self._waiters:
            del self._waiters[waiter]
            self._pending.leave()

    def dial_more(self) -> None:
        """Dial for those who wait, as far as there is room."""
        while self._dialling < min(len(self._waiters), DIALS_MAX):
            if not self._room.enter():
                if self._make_room is not None:
                    self._make_room()
                return
            self._dialling += 1
            self._state.tasks.spawn(self._connect(), "dial")

    def drop_idle(self) -> bool:
        """Close the connection that was idle for the longest. False when there is none."""
        if not self._idle:
            return False
        self._leave_idle(0)
        return True

    def look(self, now: float) -> None:
        """Close what was idle for too long, or proves who we are by a leaf that has been replaced."""
        if self._context_now is not None:
            self._context = self._context_now()
        while self._idle and now - self._idle[0].idle_since >= self._idle_s:
            self._leave_idle(0)
        for connection in [each for each in self._idle if not self._current(each)]:
            self._leave_idle(self._idle.index(connection))

    def retire(self) -> None:
        """Nobody will ask again: idle connections end now, those at work when they have done it."""
        self._retired = True
        self._state.http.pools.pop(self, None)
        while self._idle:
            self._leave_idle(0)

    # --- from the connections

    def released(self, connection: ClientConnection) -> None:
        """It may carry another request."""
        if not self._current(connection):
            connection.wire.finish()
        elif self._waiters:
            self._next().connected(connection)
        elif self._retired or self._room_wanted() or len(self._idle) >= IDLE_MAX or not self._state.http.idle.enter():
            connection.wire.finish()
        else:
            connection.idle_since = self._state.clock.now()
            self._idle.append(connection)

    def ended(self, connection: ClientConnection) -> None:
        """It is gone."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._state.http.idle.leave()
        self.open -= 1
        self._room.leave()
        self.dial_more()
        if self._room.limit and self._make_room is not None:
            self._make_room()

    def _current(self, connection: ClientConnection) -> bool:
        wire = connection.wire
        return self._context is None or not isinstance(wire, TlsWire) or wire.context is self._context

    def _room_wanted(self) -> bool:
        """Whether another pool of the cluster waits for room."""
        return bool(self._room.limit) and self._pending.inside > 0

    def _next(self) -> Waiter:
        waiter = next(iter(self._waiters))
        self.withdraw(waiter)
        return waiter

    def _leave_idle(self, position: int) -> None:
        connection = self._idle.pop(position)
        self._state.http.idle.leave()
        connection.wire.finish()

    # --- dialling

    async def _connect(self) -> None:
        reason = ""
        connected = False
        try:
            wire = await self._dial()
            connected = True
        except (OSError, TimeoutError) as error:
            reason = str(error) or "timeout"
        finally:
            self._dialling -= 1
            if not connected:
                self._room.leave()
        if not connected:
            self._failed(reason)
            return
        if isinstance(wire, TlsWire):
            wire.tally = self._tally
        self.open += 1
        connection = ClientConnection(wire, self)
        if not wire.begin():
            connection.discard()
            if wire.lost:
                self.ended(connection)
            self._failed("the connection ended at once")
        elif connection.alive:
            self.released(connection)
            self.dial_more()

    def _failed(self, reason: str) -> None:
        """While nothing can be reached nobody should wait for his turn to learn it."""
        if self.open:
            if self._waiters:
                self._next().unreachable(reason)
        else:
            for _ in range(len(self._waiters)):
                if self._waiters:
                    self._next().unreachable(reason)
        self.dial_more()
