"""The core of gossip: SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2017), without IO.

One core an agent. The shell (`driver`) feeds it opened packets, exchanges and time, and performs its effects; nothing that
comes over the wire makes it raise. The rules of membership are in `membership`, probing in `probing`, TCP in `exchanges`,
user events in `events`, the verdicts withheld from a cut-off side in `preservation`.
"""

from __future__ import annotations

import random
from typing import Any

from chowk.agent.gossip.codec import decode_packet, encode_message, join_parts
from chowk.agent.gossip.effects import Address, Effect, LeaveDone
from chowk.agent.gossip.errors import GossipError, MalformedPacket
from chowk.agent.gossip.events import Events
from chowk.agent.gossip.exchanges import Exchanges
from chowk.agent.gossip.membership import Membership, tags_bytes
from chowk.agent.gossip.messages import (
    LEFT_CODE,
    PRUNED_CODE,
    Ack,
    Alive,
    Broadcast,
    Gone,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
)
from chowk.agent.gossip.post import Post
from chowk.agent.gossip.probing import Prober
from chowk.agent.gossip.roster import ALIVE, FAILED, KEPT, STATE_NAMES, SUSPECT, Known, said_by
from chowk.agent.gossip.settings import MAX_NAME_BYTES, MAX_TAGS_BYTES, Settings
from chowk.agent.gossip.timers import Timer, TimerQueue
from chowk.core.records import member
from chowk.core.records.coordinate import Coordinate
from chowk.core.records.member import Member


class GossipCore:
    """`me` is this agent: a unique name (<= 128 bytes), the IP address and port its gossip is reached at, its tags (`dc` is
    taken from the settings where it is missing; <= 512 bytes in all). Times are seconds of one monotonic clock.
    """

    def __init__(self, me: Member, settings: Settings, rng: random.Random, now: float) -> None:
        check_member(me)
        tags = {"dc": settings.datacenter} | me.tags
        self._settings = settings
        self._rng = rng
        self._timers = TimerQueue()
        self._post = Post(settings.retransmit_limit(1))
        own = Member(name=me.name, address=me.address, port=me.port, tags=tags)
        self._membership = Membership(own, settings, rng, self._post, self._timers)
        self._events = Events(me.name, settings.coalesce_s, self._post, self._timers)
        self._exchanges = Exchanges(settings, rng, self._post, self._timers, self._membership, self._events)
        self._prober = Prober(settings, rng, self._post, self._timers, self._membership, self._exchanges)
        self._gossip_timer: Timer | None = None
        self._last_gossip = now - settings.gossip_interval_s
        self._prober.start(now)
        self._exchanges.start(now)

    # Input.

    def receive(self, packet: bytes, sender: Address, now: float) -> None:
        """An opened datagram from `sender`. Whatever it is: what makes no sense is counted and has no effect."""
        try:
            messages = decode_packet(packet)
        except MalformedPacket:
            self._post.count("malformed_packets")
            return
        for message in messages:
            self._handle(message, sender, now)
        self._plan_gossip(now)

    def serve_exchange(self, request: bytes, now: float) -> bytes:
        """The answer to a question that came by TCP; b"" where there is none: close the connection."""
        answer = self._exchanges.serve(request, now)
        self._plan_gossip(now)
        return answer

    def exchange_answered(self, exchange_id: int, answer: bytes, now: float) -> None:
        """An OpenExchange was answered."""
        self._exchanges.answered(exchange_id, answer, now)
        self._plan_gossip(now)

    def exchange_failed(self, exchange_id: int, reason: str, now: float) -> None:
        """An OpenExchange came to nothing."""
        self._exchanges.failed(exchange_id, reason, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due. To be called at `next_deadline()`, or as soon after as can be."""
        lag = now - self._timers.next_deadline()
        if lag >= self._settings.stall_s:
            # We stood still: that nobody answered meanwhile says something about us, nothing about them.
            self._post.count("stalls")
            self._membership.awareness.apply(1)
            self._timers.shift(lag)
        self._timers.run(now)
        self._plan_gossip(now)

    # Output.

    def next_deadline(self) -> float:
        """When `handle_timer` is to be called."""
        return self._timers.next_deadline()

    def take_effects(self) -> tuple[Effect, ...]:
        """What the shell is to do and to know, in order; each is given once. To be called after every input."""
        return self._post.take_effects()

    def members(self) -> tuple[Member, ...]:
        """All members, by name; this one among them."""
        return self._membership.members()

    def coordinate(self) -> Coordinate:
        """Where this agent is in the network, as far as it has learned."""
        return self._prober.coordinates.own

    def counters(self) -> dict[str, int]:
        """How often what happened, by name, since the start; and the present gauges `health` and `broadcasts_waiting`."""
        gauges = {"health": self._membership.awareness.score, "broadcasts_waiting": len(self._post.queue)}
        return self._post.counters | gauges

    def describe(self) -> dict[str, Any]:
        """What it knows, for people and tests; `members` is {name: (state, incarnation)}."""
        membership = self._membership
        return {
            "name": membership.me.name,
            "incarnation": membership.incarnation,
            "health": membership.awareness.score,
            "time": self._events.time,
            "members": {known.name: (STATE_NAMES[known.state], known.said.incarnation) for known in membership.roster},
        }

    # Requests.

    def join(self, address: Address, now: float) -> int:
        """Join the cluster of whoever listens at `address` (an IP literal). A JoinOutcome of the id returned follows.
        GossipError after `leave`, or when too many are under way."""
        if self._membership.gone:
            raise GossipError("this agent has left the cluster")
        return self._exchanges.join(address, now)

    def leave(self, now: float) -> None:
        """Go in peace: tell it, then be gone. LeaveDone follows within twice `leave_spread_s`, at once when alone."""
        membership = self._membership
        if membership.gone or membership.me.status == member.LEAVING:
            return
        me = membership.me
        membership.announce(Member(name=me.name, address=me.address, port=me.port, status=member.LEAVING, tags=me.tags))
        self._plan_gossip(now)
        if membership.roster.live_count():
            self._timers.schedule(now + self._settings.leave_spread_s, self._say_left)
        else:
            self._say_left(now)

    def force_leave(self, name: str, now: float) -> None:
        """A failed member counts as left from now on. GossipError for one that is unknown or alive."""
        self._dismiss(name, LEFT_CODE, now)

    def prune(self, name: str, now: float) -> None:
        """A failed or left member is forgotten, everywhere, at once. GossipError for one that is unknown or alive."""
        self._dismiss(name, PRUNED_CODE, now)

    def set_tags(self, tags: dict[str, str], now: float) -> None:
        """Have other tags. GossipError for over 512 bytes of them."""
        me = self._membership.me
        tags = {"dc": self._settings.datacenter} | tags
        changed = Member(name=me.name, address=me.address, port=me.port, status=me.status, tags=tags)
        check_member(changed)
        if changed != me:
            self._membership.announce(changed)
            self._plan_gossip(now)

    def user_event(self, name: str, payload: bytes, now: float, *, coalesce: bool = False) -> None:
        """Tell all members, this one too, of an event. GossipError for a name over 128 or a payload over 512 bytes."""
        self._events.send(name, payload, now, coalesce)
        self._plan_gossip(now)

    # What follows.

    def _handle(self, message: Message, sender: Address, now: float) -> None:
        membership = self._membership
        match message:
            case _ if membership.gone:
                pass
            case Ping():
                self._prober.ping(message, sender, now)
            case Ack():
                self._prober.ack(message, now)
            case Nack():
                self._prober.nack(message)
            case IndirectPing():
                self._prober.indirect_ping(message, sender, now)
            case Alive():
                membership.alive(message, now)
            case Suspect():
                membership.suspect(message.name, message.incarnation, message.by, now)
            case Gone():
                membership.dismiss(message, now)
            case Broadcast():
                self._events.receive(message, now)

    def _dismiss(self, name: str, how: int, now: float) -> None:
        known = self._find(name)
        if known.state in (ALIVE, SUSPECT) and not known.said.leaving:
            raise GossipError(f"{name} is alive; only a failed or left member can be made to leave")
        self._membership.dismiss(Gone(known.said.incarnation, name, self._membership.me.name, how), now)
        self._plan_gossip(now)

    def _find(self, name: str) -> Known:
        known = self._membership.roster.get(name)
        if known is None:
            raise GossipError(f"no member is named {name}")
        return known

    def _say_left(self, now: float) -> None:
        self._membership.say_left()
        self._prober.stop()
        self._plan_gossip(now)
        if self._membership.roster.live_count():
            self._timers.schedule(now + self._settings.leave_spread_s, self._leave_done)
        else:
            self._leave_done(now)

    def _leave_done(self, _: float) -> None:
        self._post.tell(LeaveDone())

    def _plan_gossip(self, now: float) -> None:
        """What is new goes out at once, but no two tellings within a gossip interval."""
        if self._gossip_timer is None and self._post.queue:
            at = max(now, self._last_gossip + self._settings.gossip_interval_s)
            self._gossip_timer = self._timers.schedule(at, self._gossip)

    def _gossip(self, now: float) -> None:
        self._gossip_timer = None
        self._last_gossip = now
        roster = self._membership.roster
        targets = self._membership.gossip_turns.take(self._settings.gossip_nodes)
        # Someone silent may only have been out of reach: now and then he hears what is said of him, and refutes.
        silent = [known for known in roster.in_state(FAILED) if now - known.since < self._settings.gossip_to_dead_s]
        silent += roster.in_state(SUSPECT) + roster.in_state(KEPT)
        if silent and self._rng.randrange(len(silent) + len(targets) + 1) < len(silent):
            targets.append(self._rng.choice(silent))
        if not targets and not roster.live_count():
            self._post.queue.clear()
        for known in targets:
            self._post.send_broadcasts(known.address)


def check_member(me: Member) -> None:
    """GossipError where others would not take what `me` says of itself."""
    if not 0 < len(me.name.encode()) <= MAX_NAME_BYTES:
        raise GossipError(f"a node name has 1 to {MAX_NAME_BYTES} bytes, not {len(me.name.encode())}")
    if tags_bytes(me.tags) > MAX_TAGS_BYTES:
        raise GossipError(f"the tags have {tags_bytes(me.tags)} bytes; the limit is {MAX_TAGS_BYTES}")
    try:
        decode_packet(join_parts([encode_message(said_by(me, 1))]))
    except MalformedPacket as error:
        raise GossipError(f"member {me.name} cannot be told to others: {error}") from None
