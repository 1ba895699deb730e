"""Questions and answers over TCP: joining, syncing the whole state with one member, pinging where UDP has no answer.

Called by `core` (both ends) and `probing`. The bytes go through the shell as OpenExchange effects.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from chowk.agent.gossip.clusters import Server, joined_by_mistake
from chowk.agent.gossip.codec import decode_exchange, encode_exchange
from chowk.agent.gossip.effects import Address, JoinOutcome, OpenExchange
from chowk.agent.gossip.errors import GossipError, MalformedPacket
from chowk.agent.gossip.events import Events
from chowk.agent.gossip.membership import Membership
from chowk.agent.gossip.messages import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Alive,
    ExchangeMessage,
    Refusal,
    StreamAck,
    StreamPing,
    Sync,
)
from chowk.agent.gossip.post import Post
from chowk.agent.gossip.roster import ALIVE, FAILED, SUSPECT, Known
from chowk.agent.gossip.settings import MAX_REASON_BYTES, Settings
from chowk.agent.gossip.timers import TimerQueue
from chowk.core.records.member import SERVER_ROLE

MAX_OPEN: Final = 64
"""Exchanges of ours in flight; a ping or a sync more is left out, a join more is refused."""

JOIN_AGAIN_S: Final = 2.0
"""So long after joining the state is synced once more."""

Answered = Callable[[ExchangeMessage, float], None]
Failed = Callable[[str, float], None]


class Exchanges:
    """`start` begins the regular syncs and the attempts to reach failed members again."""

    def __init__(
        self,
        settings: Settings,
        rng: random.Random,
        post: Post,
        timers: TimerQueue,
        membership: Membership,
        events: Events,
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._post = post
        self._timers = timers
        self._membership = membership
        self._events = events
        self._id = 0
        self._open: dict[int, tuple[Answered, Failed]] = {}

    def start(self, now: float) -> None:
        """At moments of its own, so that members that started together do not sync together."""
        self._timers.schedule(now + self._rng.random() * self._settings.push_pull_interval_s, self._sync_round)
        self._timers.schedule(now + self._rng.random() * self._settings.reconnect_interval_s, self._reconnect_round)

    def join(self, address: Address, now: float) -> int:
        """Ask whoever listens at `address` to take us in; a JoinOutcome with the id returned tells how it went."""
        if len(self._open) >= MAX_OPEN:
            raise GossipError(f"{MAX_OPEN} exchanges are in flight already")
        join_id = self._id + 1

        def answered(answer: ExchangeMessage, now: float) -> None:
            reason = self._merge_answer(answer, now)
            if not reason:
                # Others may have joined elsewhere at the same moment: ask again, somebody else, when it has spread.
                self._timers.schedule(now + JOIN_AGAIN_S, self._sync_once)
            self._post.tell(JoinOutcome(join_id, address, reason))

        def failed(reason: str, _: float) -> None:
            self._post.tell(JoinOutcome(join_id, address, reason))

        self._begin(address, self._sync(True, now), self._settings.exchange_timeout_s, (answered, failed))
        return join_id

    def ping(self, target: Known, timeout_s: float, answered: Callable[[float], None]) -> None:
        """Ping by TCP; `answered(now)` if it is there."""
        if len(self._open) >= MAX_OPEN or timeout_s <= 0:
            self._post.count("exchanges_left_out")
            return

        def acked(answer: ExchangeMessage, now: float) -> None:
            if isinstance(answer, StreamAck) and answer.name == target.name:
                self._post.count("probes_by_tcp_only")
                answered(now)

        self._begin(target.address, StreamPing(target.name), timeout_s, (acked, _ignore))

    def serve(self, request: bytes, now: float) -> bytes:
        """The answer to another's question; b"" for what is none."""
        try:
            question = decode_exchange(request)
        except MalformedPacket:
            self._post.count("malformed_exchanges")
            return b""
        membership = self._membership
        if isinstance(question, StreamPing) and question.target == membership.me.name and not membership.gone:
            return encode_exchange(StreamAck(question.target))
        if not isinstance(question, Sync):
            return b""
        reason = self._problem_of(question)
        if reason:
            self._post.count("syncs_refused")
            return encode_exchange(Refusal(reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")))
        # The answer first: of what the other tells us, he needs to be told nothing.
        answer = encode_exchange(self._sync(question.join, now))
        self._merge(question, now)
        return answer

    def answered(self, exchange_id: int, answer: bytes, now: float) -> None:
        """The answer to a question of ours."""
        waiting = self._open.pop(exchange_id, None)
        if waiting is None:
            return
        try:
            message = decode_exchange(answer)
        except MalformedPacket as error:
            self._post.count("malformed_exchanges")
            waiting[1](f"its answer makes no sense: {error}", now)
            return
        waiting[0](message, now)

    def failed(self, exchange_id: int, reason: str, now: float) -> None:
        """No answer to a question of ours."""
        waiting = self._open.pop(exchange_id, None)
        if waiting is not None:
            waiting[1](reason, now)

    def _begin(
        self, address: Address, question: ExchangeMessage, timeout_s: float, waiting: tuple[Answered, Failed]
    ) -> None:
        self._id += 1
        self._open[self._id] = waiting
        self._post.tell(OpenExchange(self._id, address, encode_exchange(question), timeout_s))

    def _sync(self, join: bool, now: float) -> Sync:
        states = self._membership.states(now)
        events = () if join else self._events.recent()
        return Sync(join, self._settings.datacenter, PROTOCOL, states, self._events.time, events)

    def _problem_of(self, sync: Sync) -> str:
        """Why another's state is not merged into ours; "" where it is."""
        membership = self._membership
        if membership.gone:
            return f"{membership.me.name} has left the cluster"
        if sync.datacenter != self._settings.datacenter:
            return f"this is datacenter {self._settings.datacenter!r}, not {sync.datacenter!r}"
        if not OLDEST_PROTOCOL <= sync.protocol <= PROTOCOL:
            return f"gossip {sync.protocol} is not spoken here, but {OLDEST_PROTOCOL} to {PROTOCOL}"
        said = sync.members[0].alive
        if said.name == membership.me.name and said.tags.get("id", "") == membership.me.id:
            return "this is you yourself" if said == membership.said() else f"name {said.name} is that of this agent"
        reason = membership.problem_of(said) or membership.conflict_of(said)
        known = membership.roster.get(said.name)
        if not reason and known is not None and known.is_live and said.incarnation <= known.said.incarnation:
            host, port = known.address
            if (said.host, said.port) != (host, port):
                # A restart at another address, or a copied data directory: the old one's silence will tell.
                return f"name {said.name} is still alive at {host}:{port}"
        return reason or joined_by_mistake(self._servers(), _servers_of(sync))

    def _servers(self) -> list[Server]:
        """Those that we know."""
        membership = self._membership
        known = [_server(each.said, each.is_live) for each in membership.roster.servers()]
        return [*known, _server(membership.said(), True)] if membership.me.is_server else known

    def _merge(self, sync: Sync, now: float) -> None:
        if len(self._membership.roster) == 0:
            self._events.pass_over(sync.time)
        self._membership.merge(sync.members, sync.members[0].alive.name, now)
        for event in sync.events:
            self._events.receive(event, now)

    def _merge_answer(self, answer: ExchangeMessage, now: float) -> str:
        """Why it was not merged; "" where it was."""
        if isinstance(answer, Refusal):
            return answer.reason
        if not isinstance(answer, Sync):
            return "its answer is none to a join"
        reason = self._problem_of(answer)
        if not reason:
            self._merge(answer, now)
        return reason

    def _sync_with(self, known: Known, now: float) -> None:
        if len(self._open) >= MAX_OPEN:
            self._post.count("exchanges_left_out")
            return

        def merge(answer: ExchangeMessage, now: float) -> None:
            if self._merge_answer(answer, now):
                self._post.count("syncs_refused")

        self._begin(known.address, self._sync(False, now), self._settings.exchange_timeout_s, (merge, _ignore))

    def _sync_round(self, now: float) -> None:
        self._sync_once(now)
        interval = self._settings.push_pull_interval(self._membership.size)
        self._timers.schedule(now + interval, self._sync_round)

    def _sync_once(self, now: float) -> None:
        if not self._membership.gone:
            for known in self._membership.roster.sample_alive(self._rng, 1):
                self._sync_with(known, now)

    def _reconnect_round(self, now: float) -> None:
        """Try one that failed, so seldom that all members together try each about once in this time."""
        membership = self._membership
        if membership.gone:
            return
        self._timers.schedule(now + self._settings.reconnect_interval_s, self._reconnect_round)
        failed = membership.roster.in_state(FAILED)
        if failed and self._rng.random() < len(failed) / membership.size:
            self._sync_with(self._rng.choice(failed), now)


def _servers_of(sync: Sync) -> list[Server]:
    """Those that another knows."""
    states = (one for one in sync.members if one.alive.tags.get("role") == SERVER_ROLE)
    return [_server(one.alive, one.state in (ALIVE, SUSPECT)) for one in states]


def _server(said: Alive, is_live: bool) -> Server:
    return Server(said.name, said.tags, is_live)


def _ignore(_: str, __: float) -> None:
    """Nobody waits for it."""
