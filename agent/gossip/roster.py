"""The members this agent knows, each with its state, and how many there are of each. Changed only by `membership`."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable, Iterator
from typing import Final

from chowk.agent.gossip.effects import Address
from chowk.agent.gossip.messages import PROTOCOL, Alive
from chowk.core.records import member
from chowk.core.records.member import Member

ALIVE: Final = 0
SUSPECT: Final = 1
FAILED: Final = 2
LEFT: Final = 3
KEPT: Final = 4
"""Out of reach, but held alive (see `preservation`). Not told to others: to them it is a suspect."""

STATE_NAMES: Final = ("alive", "suspect", "failed", "left", "kept")
LIVE: Final = (ALIVE, SUSPECT, KEPT)
"""The states of those that are probed, told and counted as the cluster's size."""


class Known:
    """A member as known here: its last Alive (`said`), its state and since when."""

    __slots__ = ("condemned", "heard", "position", "said", "since", "state")

    def __init__(self, said: Alive, state: int, since: float) -> None:
        self.said = said
        self.state = state
        self.since = since
        self.condemned = False
        """Kept, although another said that it failed."""
        self.heard = float("-inf")
        """When it last answered or asked us itself."""
        self.position = -1

    @property
    def name(self) -> str:
        """Its unique name."""
        return self.said.name

    @property
    def id(self) -> str:
        """The node's UUID; "" when it has none."""
        return self.said.tags.get("id", "")

    @property
    def address(self) -> Address:
        """Where its gossip listens."""
        return (self.said.host, self.said.port)

    @property
    def is_server(self) -> bool:
        """Whether it runs a server."""
        return self.said.tags.get("role") == member.SERVER_ROLE

    @property
    def is_live(self) -> bool:
        """Whether it counts as a part of the cluster now."""
        return self.state in LIVE

    def member(self) -> Member:
        """As the rest of the agent sees it."""
        said = self.said
        if self.state in LIVE:
            status = member.LEAVING if said.leaving else member.ALIVE
        else:
            status = member.LEFT if self.state == LEFT else member.FAILED
        kept = self.state == KEPT
        return Member(name=said.name, address=said.host, port=said.port, status=status, tags=said.tags, kept=kept)


def said_by(me: Member, incarnation: int) -> Alive:
    """What a member says of itself."""
    leaving = me.status == member.LEAVING
    return Alive(incarnation, me.name, me.address, me.port, PROTOCOL, leaving, me.tags)


class Roster:
    """All members but ourselves."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._names: list[str] = []
        self._alive: list[Known] = []
        self._by_id: dict[str, str] = {}
        self._servers: dict[str, Known] = {}
        self._in_state: tuple[dict[str, Known], ...] = tuple({} for _ in STATE_NAMES)
        self.server_counts = [0] * len(STATE_NAMES)

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Known]:
        """In the order of their names."""
        return (self._known[name] for name in self._names)

    def get(self, name: str) -> Known | None:
        """The member of that name."""
        return self._known.get(name)

    def live_count(self) -> int:
        """How many are live, without ourselves."""
        return sum(len(self._in_state[state]) for state in LIVE)

    def servers(self) -> Iterable[Known]:
        """Those that run a server."""
        return self._servers.values()

    def live_with_id(self, node_id: str) -> Known | None:
        """The live member with that node id."""
        known = self._known.get(self._by_id.get(node_id, ""))
        return known if known is not None and known.is_live and known.id == node_id else None

    def add(self, said: Alive, state: int, since: float) -> Known:
        """A member that was not known."""
        known = Known(said, state, since)
        self._known[said.name] = known
        bisect.insort(self._names, said.name)
        self._enter(known)
        return known

    def change(self, known: Known, said: Alive, state: int, since: float) -> None:
        """It says something else of itself, or is in another state."""
        self._exit(known)
        known.said, known.state, known.since, known.condemned = said, state, since, False
        self._enter(known)

    def forget(self, known: Known) -> None:
        """It is no member any more."""
        self._exit(known)
        known.state = LEFT
        del self._known[known.name]
        del self._names[bisect.bisect_left(self._names, known.name)]
        if self._by_id.get(known.id) == known.name:
            del self._by_id[known.id]

    def count(self, state: int) -> int:
        """How many are in a state."""
        return len(self._in_state[state])

    def in_state(self, state: int) -> list[Known]:
        """Those in a state, the latest last."""
        return list(self._in_state[state].values())

    def sample_alive(self, rng: random.Random, count: int, without: str = "") -> list[Known]:
        """Up to `count` different members at random of those that are alive beyond doubt, `without` one of them."""
        picked = rng.sample(self._alive, min(count + 1, len(self._alive)))
        return [known for known in picked if known.name != without][:count]

    def _enter(self, known: Known) -> None:
        self._in_state[known.state][known.name] = known
        if known.is_server:
            self.server_counts[known.state] += 1
            self._servers[known.name] = known
        if known.id:
            holder = self._known.get(self._by_id.get(known.id, ""))
            if holder is None or not holder.is_live or known.is_live:
                self._by_id[known.id] = known.name
        if known.state == ALIVE:
            known.position = len(self._alive)
            self._alive.append(known)

    def _exit(self, known: Known) -> None:
        del self._in_state[known.state][known.name]
        if known.is_server:
            self.server_counts[known.state] -= 1
            del self._servers[known.name]
        if known.state == ALIVE:
            # The last one takes its place, so that leaving costs the same however many there are.
            last = self._alive.pop()
            if last is not known:
                self._alive[known.position] = last
                last.position = known.position
            known.position = -1
