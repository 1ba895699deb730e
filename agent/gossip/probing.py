"""Probing: who is pinged when, by which ways, and what an answer or its absence means (SWIM 3 and 4.3, Lifeguard IV-A).

Each round the next members of a shuffled order are pinged. Who does not answer in time is pinged through others and by
TCP; at the round's end it is suspect. Helpers that hear us but not the target say so (nack): where not even they do, the
fault is likelier ours. How long direct answers take says where we are (`coordinates`). Called by `core`.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Final

from chowk.agent.gossip.coordinates import Coordinates
from chowk.agent.gossip.effects import Address
from chowk.agent.gossip.exchanges import Exchanges
from chowk.agent.gossip.membership import Membership
from chowk.agent.gossip.messages import Ack, IndirectPing, Nack, Ping
from chowk.agent.gossip.post import Post
from chowk.agent.gossip.roster import ALIVE, Known
from chowk.agent.gossip.settings import Settings
from chowk.agent.gossip.timers import Timer, TimerQueue

MAX_RELAYS: Final = 1024
"""Pings for others in flight; more are not asked for them, and so not nacked either."""

NACK_SHARE: Final = 0.8
"""A helper gives up after this share of the probe timeout, so that its nack arrives before the asker's round ends."""


class Probe:
    """One of ours in flight."""

    __slots__ = ("begun", "helpers", "incarnation", "nacks", "target", "timer")

    def __init__(self, target: Known, timer: Timer, begun: float) -> None:
        self.target = target
        self.begun = begun
        self.incarnation = target.said.incarnation
        self.timer = timer
        self.helpers = 0
        self.nacks = 0


class Relay:
    """A ping for another in flight: `sequence` is the asker's."""

    __slots__ = ("asker", "sequence", "timer")

    def __init__(self, asker: Address, sequence: int, timer: Timer) -> None:
        self.asker = asker
        self.sequence = sequence
        self.timer = timer


class Prober:
    """The rounds begin at `start`; they follow the local health."""

    def __init__(
        self,
        settings: Settings,
        rng: random.Random,
        post: Post,
        timers: TimerQueue,
        membership: Membership,
        exchanges: Exchanges,
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._post = post
        self._timers = timers
        self._membership = membership
        self._exchanges = exchanges
        self._sequence = rng.getrandbits(32)
        self._probes: dict[int, Probe] = {}
        self._relays: dict[int, Relay] = {}
        self.coordinates = Coordinates(rng)

    def start(self, now: float) -> None:
        """Begin at a moment of its own, so that members that started together do not ping together."""
        self._timers.schedule(now + self._rng.random() * self._settings.probe_interval_s, self._round)

    def stop(self) -> None:
        """No more of ours; those in flight are forgotten."""
        for probe in self._probes.values():
            probe.timer.cancel()
        self._probes.clear()

    def ping(self, message: Ping, sender: Address, now: float) -> None:
        """Asked whether we are there: only if it is us who are meant."""
        membership = self._membership
        if message.target != membership.me.name:
            self._post.count("misdirected_pings")
            return
        known = membership.roster.get(message.source)
        if known is None:
            self._post.send_bare(sender, (self._answer(message),))
            return
        if known.address != sender:
            # From another of its addresses, or from a copy of it: it shall know where we believe it to be.
            self._post.send_bare(sender, (self._answer(message), known.said))
            return
        # The news goes first: it was given before this ping, which proves that he is there.
        self._post.send(sender, (self._answer(message), *membership.news_for(known)))
        if known.is_live:
            membership.answered(known, now)

    def indirect_ping(self, message: IndirectPing, sender: Address, now: float) -> None:
        """Ping another for the sender."""
        if len(self._relays) >= MAX_RELAYS:
            self._post.count("relays_refused")
            return
        sequence = self._next_sequence()
        give_up = now + self._settings.probe_timeout_s * NACK_SHARE
        timer = self._timers.schedule(give_up, lambda _: self._relay_over(sequence))
        self._relays[sequence] = Relay(sender, message.sequence, timer)
        self._post.send_bare((message.host, message.port), (Ping(sequence, message.target, self._membership.me.name),))

    def ack(self, message: Ack, now: float) -> None:
        """An answer to a probe of ours, or to one for another."""
        relay = self._relays.pop(message.sequence, None)
        if relay is not None:
            relay.timer.cancel()
            self._post.send(relay.asker, (Ack(relay.sequence),))
        elif (probe := self._probes.get(message.sequence)) is not None:
            # Only who answers himself says where he is: what came through another took longer.
            if message.coordinate and self._settings.coordinates:
                observed = self.coordinates.observe(probe.target.name, message.coordinate, now - probe.begun)
                self._post.count("coordinates_learned" if observed else "coordinates_refused")
            self._succeed(message.sequence, now)

    def nack(self, message: Nack) -> None:
        """A helper hears us, and not the target."""
        probe = self._probes.get(message.sequence)
        if probe is not None:
            probe.nacks += 1

    def _answer(self, ping: Ping) -> Ack:
        return Ack(ping.sequence, self.coordinates.wire if self._settings.coordinates else b"")

    def _succeed(self, sequence: int, now: float) -> None:
        probe = self._probes.pop(sequence, None)
        if probe is None:
            return
        probe.timer.cancel()
        self._membership.awareness.apply(-1)
        self._membership.preservation.probed(probe.target.name, True, now)
        if probe.target.is_live:
            self._membership.answered(probe.target, now)

    def _round(self, now: float) -> None:
        membership = self._membership
        if membership.gone:
            return
        interval = membership.awareness.scale(self._settings.probe_interval_s)
        self._timers.schedule(now + interval, self._round)
        membership.preservation.observe(now)
        membership.release(now)
        for target in membership.probe_turns.take(self._settings.probe_nodes):
            self._begin(target, now, interval)

    def _begin(self, target: Known, now: float, interval: float) -> None:
        sequence = self._next_sequence()
        late = now + self._membership.awareness.scale(self._settings.probe_timeout_s)
        timer = self._timers.schedule(late, partial(self._late, sequence, now + interval))
        self._probes[sequence] = Probe(target, timer, now)
        ping = Ping(sequence, target.name, self._membership.me.name)
        if target.state == ALIVE:
            self._post.send(target.address, (ping,))
        else:
            # Nothing that waits rides along: it may go nowhere.
            self._post.send_bare(target.address, (ping, *self._membership.news_for(target)))

    def _late(self, sequence: int, end: float, now: float) -> None:
        probe = self._probes[sequence]
        target = probe.target
        probe.timer = self._timers.schedule(max(now, end), partial(self._over, sequence))
        helpers = self._membership.roster.sample_alive(self._rng, self._settings.indirect_checks, target.name)
        probe.helpers = len(helpers)
        host, port = target.address
        for helper in helpers:
            self._post.send(helper.address, (IndirectPing(sequence, target.name, host, port),))
        self._exchanges.ping(target, max(0.0, end - now), partial(self._succeed, sequence))

    def _over(self, sequence: int, now: float) -> None:
        probe = self._probes.pop(sequence)
        membership, target = self._membership, probe.target
        self._post.count("probes_failed")
        if not probe.helpers or probe.nacks < probe.helpers:
            # Once a probe, not once a nack: helpers may have died with the target; a rack's death must not slow us.
            membership.awareness.apply(1)
        membership.preservation.probed(target.name, False, now)
        if target.said.incarnation == probe.incarnation:
            membership.suspect(target.name, probe.incarnation, membership.me.name, now)

    def _relay_over(self, sequence: int) -> None:
        relay = self._relays.pop(sequence, None)
        if relay is not None:
            self._post.send(relay.asker, (Nack(relay.sequence),))

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) % 2**48
        return self._sequence
