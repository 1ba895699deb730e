"""The rules of who is alive, suspect, failed, left or kept, and what each claim on the wire changes about it.

A higher incarnation is newer truth; only the member itself raises its own, to refute. At the same incarnation alive <
suspect < failed < left. A claim to a name or node id that another live member holds is refused and told as a NameConflict.
Called by `core`, `probing` and `exchanges`; owns the Roster.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

from chowk.agent.gossip.awareness import Awareness
from chowk.agent.gossip.effects import MemberChanged, NameConflict, Reaped
from chowk.agent.gossip.messages import (
    FAILED_CODE,
    LEFT_CODE,
    MAX_COUNTER,
    OLDEST_PROTOCOL,
    PROTOCOL,
    PRUNED_CODE,
    Alive,
    Gone,
    MemberState,
    Message,
    Suspect,
)
from chowk.agent.gossip.post import Post
from chowk.agent.gossip.preservation import Preservation
from chowk.agent.gossip.roster import ALIVE, FAILED, KEPT, LEFT, LIVE, SUSPECT, Known, Roster, said_by
from chowk.agent.gossip.settings import MAX_MEMBERS, MAX_TAGS_BYTES, Settings
from chowk.agent.gossip.suspicion import Suspicion
from chowk.agent.gossip.timers import Timer, TimerQueue
from chowk.agent.gossip.turns import Turns
from chowk.core.records import member
from chowk.core.records.member import Member

MAX_TOMBSTONES: Final = 1024
"""Pruned names remembered, so that a peer that has not heard of it does not bring them back."""

CONFLICT_INTERVAL_S: Final = 30.0
"""A conflict over a name is told at most once in this time."""

MAX_CONFLICTS: Final = 256
DISPUTE_ROUNDS: Final = 3
DISPUTE_WINDOW_S: Final = 60.0
"""Who has to take its own name back so often in this time shares it with a copy of itself, and gives way."""


def tags_bytes(tags: dict[str, str]) -> int:
    """The size that counts towards MAX_TAGS_BYTES."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in tags.items())


class Membership:
    """`me` is what this agent says of itself; everybody else is in `roster`."""

    def __init__(self, me: Member, settings: Settings, rng: random.Random, post: Post, timers: TimerQueue) -> None:
        self._settings = settings
        self._rng = rng
        self._post = post
        self._timers = timers
        self.me = me
        self.incarnation = 1
        self.gone = False
        self.awareness = Awareness(settings.max_health)
        self.roster = Roster()
        self.probe_turns = Turns(self.roster, LIVE, rng)
        self.gossip_turns = Turns(self.roster, (ALIVE,), rng)
        self.preservation = Preservation(settings, self.roster, me.is_server)
        self._suspicions: dict[str, tuple[Suspicion, Timer]] = {}
        self._tombstones: dict[str, tuple[int, float]] = {}
        self._conflicts: dict[str, float] = {}
        self._disputes: deque[float] = deque(maxlen=DISPUTE_ROUNDS)

    @property
    def size(self) -> int:
        """Live members, ourselves among them."""
        return self.roster.live_count() + 1

    def said(self) -> Alive:
        """What we say of ourselves."""
        return said_by(self.me, self.incarnation)

    def members(self) -> tuple[Member, ...]:
        """All, by name."""
        found = [known.member() for known in self.roster]
        return tuple(sorted([*found, self.me], key=lambda one: one.name))

    # What we say of ourselves.

    def announce(self, me: Member) -> None:
        """We are something else from now on: a higher incarnation says so to everybody."""
        self.me = me
        self.raise_incarnation(self.incarnation)
        self._post.tell(MemberChanged(me))

    def raise_incarnation(self, above: int) -> None:
        """Be newer truth than `above`, and tell everybody."""
        self.incarnation = min(max(self.incarnation, above) + 1, MAX_COUNTER)
        self._post.broadcast(self.me.name, self.said())

    def say_left(self) -> None:
        """We have left: nothing of us is refuted any more."""
        self.gone = True
        self.me = _with_status(self.me, member.LEFT)
        self._post.broadcast(self.me.name, Gone(self.incarnation, self.me.name, self.me.name, LEFT_CODE))
        self._post.tell(MemberChanged(self.me))

    def news_for(self, known: Known) -> list[Message]:
        """What a member must hear when we talk to it: that it is suspect or gone, so that it refutes (Lifeguard's buddy)."""
        said = known.said
        if known.state in (SUSPECT, KEPT):
            return [Suspect(said.incarnation, said.name, self.me.name)]
        if known.state == FAILED:
            return [Gone(said.incarnation, said.name, self.me.name, FAILED_CODE)]
        return [Gone(said.incarnation, said.name, said.name, LEFT_CODE)] if known.state == LEFT else []

    # Claims.

    def problem_of(self, said: Alive) -> str:
        """Why no one that says this of itself is a member of this cluster; "" where it may be."""
        datacenter = said.tags.get("dc", "")
        if datacenter != self._settings.datacenter:
            return f"it is of datacenter {datacenter!r}, this is {self._settings.datacenter!r}"
        if not OLDEST_PROTOCOL <= said.protocol <= PROTOCOL:
            return f"it speaks gossip {said.protocol}; spoken here is {OLDEST_PROTOCOL} to {PROTOCOL}"
        if tags_bytes(said.tags) > MAX_TAGS_BYTES:
            return f"its tags have over {MAX_TAGS_BYTES} bytes"
        return ""

    def conflict_of(self, said: Alive) -> str:
        """Which live member holds the name or the node id that is claimed; "" where none does."""
        node_id = said.tags.get("id", "")
        if said.name == self.me.name:
            return "" if node_id == self.me.id else f"name {said.name} is that of this agent, node {self.me.id}"
        if node_id and node_id == self.me.id:
            return f"node id {node_id} is that of this agent, {self.me.name}"
        known = self.roster.get(said.name)
        if known is not None and known.is_live and known.id != node_id:
            return f"name {said.name} is held by node {known.id or 'without id'} at {known.said.host}:{known.said.port}"
        holder = self.roster.live_with_id(node_id) if node_id else None
        if holder is not None and holder.name != said.name:
            return f"node id {node_id} is held by {holder.name} at {holder.said.host}:{holder.said.port}"
        return ""

    def alive(self, said: Alive, now: float) -> None:
        """A member says this of itself, or did."""
        known = self.roster.get(said.name)
        if known is not None and said.incarnation <= known.said.incarnation and said.tags.get("id", "") == known.id:
            return  # Most of what comes by is this: known already.
        if self.problem_of(said):
            self._post.count("foreign_members")
            return
        conflict = self.conflict_of(said)
        if conflict:
            self.refuse(said, conflict, now)
            return
        if said.name == self.me.name:
            self._own_alive(said, now)
        elif known is None:
            self._meet(said, now)
        elif said.incarnation > known.said.incarnation:
            self._settle(known, said, ALIVE, now)
            self._post.broadcast(said.name, said)

    def suspect(self, name: str, incarnation: int, by: str, now: float) -> None:
        """`by` cannot reach `name`."""
        if name == self.me.name:
            self._refute(incarnation)
            return
        known = self.roster.get(name)
        if known is None or incarnation < known.said.incarnation:
            return
        if known.state == SUSPECT:
            suspicion, timer = self._suspicions[name]
            if suspicion.confirm(by):
                timer.cancel()
                self._await_verdict(known, suspicion, max(now, suspicion.deadline()))
                self._post.broadcast(name, Suspect(incarnation, name, by))
        elif known.state == ALIVE:
            self._accuse(known, by, self._settings.confirmations(self.size), now)

    def dismiss(self, claim: Gone, now: float) -> None:
        """`claim.name` is gone, in the way that `claim.how` says."""
        if claim.name == self.me.name:
            self._refute(claim.incarnation)
            return
        known = self.roster.get(claim.name)
        if known is None or claim.incarnation < known.said.incarnation:
            return
        if claim.how == PRUNED_CODE:
            self._post.broadcast(claim.name, claim)
            self._bury(known, now)
        elif claim.how == LEFT_CODE and known.state != LEFT:
            self._post.broadcast(claim.name, claim)
            self._settle(known, known.said, LEFT, now)
        elif claim.how == FAILED_CODE and known.is_live:
            self._judge(known, claim, now)

    def merge(self, states: tuple[MemberState, ...], by: str, now: float) -> None:
        """All that another knows. That it holds someone failed is a suspicion to those who hold him alive: he may refute.

        Who knew nobody is a newcomer: all but he know this already, and he does not tell it to them again.
        """
        newcomer = len(self.roster) == 0
        for one in states:
            said = one.alive
            if said.name == self.me.name and one.state in (FAILED, LEFT):
                # We were here before, or take over the name of one who is gone: be newer than that.
                self._refute(said.incarnation)
            elif one.state in (ALIVE, SUSPECT):
                self.alive(said, now)
                if one.state != ALIVE:
                    self.suspect(said.name, said.incarnation, by, now)
            elif self.roster.get(said.name) is None:
                self._remember(one, now)
            elif one.state == LEFT:
                self.dismiss(Gone(said.incarnation, said.name, said.name, LEFT_CODE), now)
            else:
                self.alive(said, now)
                self.suspect(said.name, said.incarnation, by, now)
        if newcomer:
            self._post.queue.clear()
            self._post.broadcast(self.me.name, self.said())

    def states(self, now: float) -> tuple[MemberState, ...]:
        """All that we know, ourselves first."""
        own = MemberState(self.said(), LEFT if self.gone else ALIVE, 0.0)
        others = (
            MemberState(known.said, SUSPECT if known.state == KEPT else known.state, max(0.0, now - known.since))
            for known in self.roster
        )
        return (own, *others)

    def release(self, now: float) -> None:
        """Judge those who are kept as usual again, once nothing speaks for keeping them. Called each round of probes."""
        if not self.roster.count(KEPT) or self.preservation.withholds(now):
            return
        for known in self.roster.in_state(KEPT):
            wanted = 0 if known.condemned else self._settings.confirmations(self.size)
            self._settle(known, known.said, ALIVE, now)
            self._accuse(known, self.me.name, wanted, now)

    def answered(self, known: Known, now: float) -> None:
        """A member answered us itself: who was kept is so no more."""
        known.heard = now
        if known.state == KEPT:
            self._settle(known, known.said, ALIVE, now)

    def refuse(self, said: Alive, reason: str, now: float) -> None:
        """Refuse a claim to what another holds, and tell it now and then."""
        self._post.count("name_conflicts")
        last = self._conflicts.get(said.name)
        if last is not None and now - last < CONFLICT_INTERVAL_S:
            return
        self._conflicts.pop(said.name, None)
        self._conflicts[said.name] = now
        if len(self._conflicts) > MAX_CONFLICTS:
            del self._conflicts[next(iter(self._conflicts))]
        self._post.tell(NameConflict(said.name, (said.host, said.port), reason))

    # What follows from claims.

    def _own_alive(self, said: Alive, now: float) -> None:
        if self.gone or said.incarnation < self.incarnation or said == self.said():
            return
        if (said.host, said.port) != (self.me.address, self.me.port):
            # Either what we were before a restart at another address, or a copy of us: a copy comes again and again.
            recent = [at for at in self._disputes if now - at < DISPUTE_WINDOW_S]
            if len(recent) >= DISPUTE_ROUNDS:
                self.refuse(said, f"another agent, at {said.host}:{said.port}, has this agent's name and node id", now)
                return
            self._disputes.append(now)
        self.raise_incarnation(said.incarnation)

    def _refute(self, incarnation: int) -> None:
        if self.gone or incarnation < self.incarnation:
            return
        self.awareness.apply(1)
        self._post.count("refutations")
        self.raise_incarnation(incarnation)

    def _meet(self, said: Alive, now: float) -> None:
        buried, until = self._tombstones.get(said.name, (-1, 0.0))
        if said.incarnation <= buried and now < until:
            return
        if len(self.roster) >= MAX_MEMBERS:
            self._post.count("members_refused")
            return
        self._tombstones.pop(said.name, None)
        known = self.roster.add(said, ALIVE, now)
        self._arrived(known)
        self._resized()
        self._post.broadcast(said.name, said)
        self._post.tell(MemberChanged(known.member()))

    def _remember(self, one: MemberState, now: float) -> None:
        """One who failed or left before we came."""
        said = one.alive
        buried, until = self._tombstones.get(said.name, (-1, 0.0))
        if one.age_s >= self._settings.reconnect_timeout_s or (said.incarnation <= buried and now < until):
            return
        if self.problem_of(said) or len(self.roster) >= MAX_MEMBERS:
            self._post.count("members_refused")
            return
        known = self.roster.add(said, one.state, now - one.age_s)
        self._await_reaping(known)
        self._post.tell(MemberChanged(known.member()))

    def _accuse(self, known: Known, by: str, wanted: int, now: float) -> None:
        """Make a live member a suspect; `wanted` confirmations would bring the verdict soonest."""
        suspicion = Suspicion(by, now, self._settings.suspicion_bounds(self.size), wanted)
        self.roster.change(known, known.said, SUSPECT, now)
        self.preservation.observe(now)
        self._await_verdict(known, suspicion, suspicion.deadline())
        self._post.broadcast(known.name, Suspect(known.said.incarnation, known.name, by))

    def _judge(self, known: Known, claim: Gone, now: float) -> None:
        """The verdict on a live member that does not answer: failed, or left where it was about to, or kept."""
        if known.said.leaving:
            self._post.broadcast(claim.name, Gone(claim.incarnation, claim.name, claim.by, LEFT_CODE))
            self._settle(known, known.said, LEFT, now)
        elif self.preservation.withholds(now):
            if known.state != KEPT:
                self._settle(known, known.said, KEPT, now)
            known.condemned |= claim.by != self.me.name
        else:
            self._post.broadcast(claim.name, claim)
            self.preservation.failed(known, now)
            self._settle(known, known.said, FAILED, now)

    def _await_verdict(self, known: Known, suspicion: Suspicion, deadline: float) -> None:
        name = known.name

        def expire(now: float) -> None:
            claim = Gone(known.said.incarnation, name, self.me.name, FAILED_CODE)
            self._judge(known, claim, now)

        self._suspicions[name] = (suspicion, self._timers.schedule(deadline, expire))

    def _settle(self, known: Known, said: Alive, state: int, now: float) -> None:
        """The one place where a member's state changes, but for becoming a suspect."""
        before, was_live = known.member(), known.is_live
        suspicion = self._suspicions.pop(known.name, None)
        if suspicion is not None:
            suspicion[1].cancel()
        self.roster.change(known, said, state, now)
        if state in (ALIVE, LEFT):
            self.preservation.returned(known.name)
        if not known.is_live:
            self._await_reaping(known)
        elif not was_live:
            self._arrived(known)
        self._resized()
        after = known.member()
        if after != before:
            self._post.tell(MemberChanged(after))

    def _arrived(self, known: Known) -> None:
        self.probe_turns.add(known.name)
        self.gossip_turns.add(known.name)

    def _await_reaping(self, known: Known) -> None:
        since = known.since

        def reap(_: float) -> None:
            if self.roster.get(known.name) is known and not known.is_live and known.since == since:
                self._forget(known)

        self._timers.schedule(since + self._settings.reconnect_timeout_s, reap)

    def _bury(self, known: Known, now: float) -> None:
        self._tombstones.pop(known.name, None)
        self._tombstones[known.name] = (known.said.incarnation, now + self._settings.reconnect_timeout_s)
        if len(self._tombstones) > MAX_TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]
        self._forget(known)

    def _forget(self, known: Known) -> None:
        suspicion = self._suspicions.pop(known.name, None)
        if suspicion is not None:
            suspicion[1].cancel()
        self.preservation.returned(known.name)
        self.roster.forget(known)
        self._resized()
        self._post.tell(Reaped(known.name))

    def _resized(self) -> None:
        self._post.limit = self._settings.retransmit_limit(self.size)


def _with_status(me: Member, status: str) -> Member:
    return Member(name=me.name, address=me.address, port=me.port, status=status, tags=me.tags)
