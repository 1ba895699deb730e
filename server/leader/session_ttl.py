"""The leader counts the TTLs of sessions, and ends those that nobody renewed. Made by `server.server`.

TTLs are counted by the leader's monotonic clock and are not replicated: a new leader gives every session its whole TTL
again. As in Consul a session lives for at least its TTL after it was renewed, and ends by twice that: so neither a slow
network nor a change of leaders ends what its holder keeps alive.
"""

from __future__ import annotations

from typing import Final

import structlog

from chowk.core.commands import DestroySession
from chowk.core.errors import ChowkError, InvalidRequest, NotFound
from chowk.core.kv_requests import SESSION_RENEW, SessionsReply
from chowk.core.requests import Read
from chowk.core.runtime.clock import Clock
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import Commit, StoreMachine
from chowk.server.state.session_table import SESSION, session_topic

log = structlog.get_logger("chowk.leader")
TTL_FACTOR: Final = 2
TICK_S: Final = 1.0


class SessionTTL:
    """A duty of the leader (`server.leader.duties`)."""

    name = "session-ttl"

    def __init__(self, machine: StoreMachine, writes: Writes, clock: Clock) -> None:
        self._machine = machine
        self._writes = writes
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._counting = False
        machine.follow(self._committed, self._restart)

    def serve(self, context: ServerContext) -> None:
        """Offer to renew sessions."""

        async def renew(request: Read) -> SessionsReply:
            if not request.name:
                raise InvalidRequest("Missing session")
            meta, session = await context.reads.run(
                request.options,
                (session_topic(request.name),),
                lambda store: store.session_table.records.get(request.name),
            )
            if session is None:
                raise NotFound(f"Session id '{request.name}' not found")
            self._count(request.name)
            return SessionsReply(meta=meta, sessions=(session,))

        context.leader.serve(SESSION_RENEW, renew)

    async def run(self) -> None:
        """Count until cancelled."""
        self._counting = True
        self._restart()
        try:
            while True:
                await self._clock.sleep(TICK_S)
                for id in [id for id, end in self._ends.items() if end <= self._clock.now()]:
                    await self._end(id)
        finally:
            self._counting = False
            self._ends.clear()

    async def _end(self, id: str) -> None:
        if self._ends.get(id, self._clock.now() + 1) > self._clock.now():
            return  # renewed or gone while others were ended
        try:
            await self._writes.propose(DestroySession(id=id))
        except ChowkError as error:
            log.warning("a session's time is over, but it could not be ended yet", session=id, error=str(error))
        else:
            log.info("a session was not renewed in time, and has ended", session=id)

    def _committed(self, commit: Commit) -> None:
        if self._counting:
            for topic in commit.topics:
                if topic.kind == SESSION:
                    self._count(topic.key)

    def _restart(self) -> None:
        self._ends.clear()
        if self._counting:
            for id in self._machine.store.session_table.records:
                self._count(id)

    def _count(self, id: str) -> None:
        """Give the session its whole TTL; forget it when it is gone or has none."""
        session = self._machine.store.session_table.records.get(id)
        if session is None or not session.ttl:
            self._ends.pop(id, None)
        else:
            self._ends[id] = self._clock.now() + TTL_FACTOR * session.ttl_s
