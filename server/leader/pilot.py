"""What the leader does about the servers, decided: which to add, promote, remove. Pure; called by `autopilot`.

A server that Raft still hears is never dead, whatever gossip says. A voter is removed for being dead only when a majority of
those that would be left is healthy, not below `min_quorum`, and no more than (n-1)/2 of n are dead; one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chowk.core.records.member import ALIVE, FAILED, LEFT, Member
from chowk.core.requests import RaftServer
from chowk.core.server_options import Autopilot
from chowk.server.port import PeerProgress

SILENT_S: Final = 5.0
"""A server that was heard over Raft since then is not dead."""
UNKNOWN_S: Final = 300.0
"""A server that gossip does not know at all is taken for dead after this long: gossip itself may just have begun."""
NONE: Final = "none"


@dataclass(frozen=True)
class Add:
    """Let the server have the log, without a vote; or note the new address or name of one that takes part."""

    id: str
    address: str
    node: str


@dataclass(frozen=True)
class Promote:
    """Let it vote."""

    id: str


@dataclass(frozen=True)
class Remove:
    """It takes part no more. `reason` is for the log."""

    id: str
    reason: str


Action = Add | Promote | Remove


@dataclass(frozen=True, kw_only=True)
class Health:
    """One server of the configuration. `since` is when `healthy` became what it is; `last_contact_s` inf: never heard."""

    server: RaftServer
    status: str
    version: str
    last_contact_s: float
    match: int
    healthy: bool
    since: float


class Pilot:
    """Remembers, for one term, since when each server is well or dead."""

    def __init__(self) -> None:
        self._healthy_since: dict[str, tuple[bool, float]] = {}
        self._dead_since: dict[str, tuple[str, float]] = {}

    def look(
        self,
        servers: Sequence[RaftServer],
        members: Mapping[str, Member],
        progress: Mapping[str, PeerProgress],
        settings: Autopilot,
        contact_s_max: float,
        now: float,
    ) -> tuple[Health, ...]:
        """How each server of the configuration is, as the leader sees it now."""
        known = _by_id(members.values())
        found = tuple(
            self._health(server, known.get(server.id), progress.get(server.id), settings, contact_s_max, now)
            for server in servers
        )
        present = {server.id for server in servers}
        for memory in (self._healthy_since, self._dead_since):
            for each in set(memory) - present:
                del memory[each]
        return found

    def _health(
        self,
        server: RaftServer,
        member: Member | None,
        progress: PeerProgress | None,
        settings: Autopilot,
        contact_s_max: float,
        now: float,
    ) -> Health:
        # Without gossip nobody tells of the leader, which is here all the same.
        unknown = ALIVE if server.leader else NONE
        status = member.status if member is not None else unknown
        contact_s, match, lag = (0.0, 0, 0) if server.leader else (math.inf, 0, 0)
        if progress is not None:
            contact_s, match, lag = progress.last_contact_s, progress.match, progress.last_index - progress.match
        healthy = status == ALIVE and contact_s <= contact_s_max and lag <= settings.max_trailing_logs
        before, since = self._healthy_since.get(server.id, (healthy, now))
        if before != healthy:
            since = now
        self._healthy_since[server.id] = (healthy, since)
        dead = status in (FAILED, NONE) and contact_s >= SILENT_S and not server.leader
        if not dead:
            self._dead_since.pop(server.id, None)
        elif self._dead_since.get(server.id, ("", 0.0))[0] != status:
            self._dead_since[server.id] = (status, now)
        return Health(
            server=server,
            status=status,
            version=member.tags.get("build", "") if member is not None else "",
            last_contact_s=contact_s,
            match=match,
            healthy=healthy,
            since=since,
        )

    def decide(
        self,
        healths: Sequence[Health],
        members: Mapping[str, Member],
        settings: Autopilot,
        datacenter: str,
        now: float,
    ) -> Action | None:
        """The next thing to do, None when all is as it should be. `healths` are those of the last `look`."""
        candidates = _candidates(members.values(), datacenter)
        return (
            _moved(healths, candidates)
            or self._leaver(healths, candidates)
            or self._dead(healths, settings, now)
            or _settled(healths, settings, now)
            or _newcomer(healths, candidates)
        )

    def _leaver(self, healths: Sequence[Health], candidates: Mapping[str, Member]) -> Remove | None:
        """Who said that it leaves; and who was set up anew: another server answers at its address."""
        for health in healths:
            server = health.server
            if server.leader:
                continue
            if health.status == LEFT:
                return Remove(server.id, "it left")
            heirs = [each for each in candidates.values() if each.rpc_address == server.address]
            if heirs and server.id not in candidates and health.last_contact_s >= SILENT_S and _spare(healths, health):
                return Remove(server.id, f"{heirs[0].name} is at its address now")
        return None

    def _dead(self, healths: Sequence[Health], settings: Autopilot, now: float) -> Remove | None:
        if not settings.cleanup_dead_servers:
            return None
        voters = [health for health in healths if health.server.voter]
        dead_voters = [health for health in voters if health.server.id in self._dead_since]
        for health in healths:
            status, since = self._dead_since.get(health.server.id, ("", now))
            grace_s = settings.server_stabilization_time_s if status == FAILED else UNKNOWN_S
            if not status or now - since < grace_s:
                continue
            if health.server.voter and (
                len(dead_voters) > (len(voters) - 1) // 2
                or len(voters) - 1 < settings.min_quorum
                or not _spare(healths, health)
            ):
                continue
            return Remove(health.server.id, "it failed" if status == FAILED else "gossip does not know it")
        return None


def failure_tolerance(healths: Sequence[Health]) -> int:
    """How many voters may fail now without an outage."""
    voters = [health for health in healths if health.server.voter]
    healthy = sum(health.healthy for health in voters)
    return max(0, healthy - (len(voters) // 2 + 1))


def _by_id(members: Iterable[Member]) -> dict[str, Member]:
    """Servers by id; of several that claim one, a live one."""
    found: dict[str, Member] = {}
    for member in sorted(members, key=lambda each: (each.status == ALIVE, each.name)):
        if member.is_server and member.id:
            found[member.id] = member
    return found


def _candidates(members: Iterable[Member], datacenter: str) -> dict[str, Member]:
    """The live servers of this datacenter that say where they are, by id. An id that two of them claim is nobody's."""
    found: dict[str, Member] = {}
    shared: set[str] = set()
    for member in sorted(members, key=lambda each: each.name):
        if member.status == ALIVE and member.id and member.rpc_address and member.tags.get("dc") == datacenter:
            if member.id in found:
                shared.add(member.id)
            found[member.id] = member
    return {each: member for each, member in found.items() if each not in shared}


def _moved(healths: Sequence[Health], candidates: Mapping[str, Member]) -> Add | None:
    for health in healths:
        member = candidates.get(health.server.id)
        if member is not None and (member.rpc_address, member.name) != (health.server.address, health.server.node):
            return Add(member.id, member.rpc_address, member.name)
    return None


def _spare(healths: Sequence[Health], leaver: Health) -> bool:
    """Whether a majority of the voters that would be left is healthy."""
    left = [health for health in healths if health.server.voter and health is not leaver]
    return 2 * sum(health.healthy for health in left) > len(left)


def _settled(healths: Sequence[Health], settings: Autopilot, now: float) -> Promote | None:
    for health in healths:
        if not health.server.voter and health.healthy and now - health.since >= settings.server_stabilization_time_s:
            return Promote(health.server.id)
    return None


def _newcomer(healths: Sequence[Health], candidates: Mapping[str, Member]) -> Add | None:
    present = {health.server.id for health in healths}
    taken = {health.server.address for health in healths}
    for each, member in sorted(candidates.items()):
        if each not in present and member.rpc_address not in taken:
            return Add(each, member.rpc_address, member.name)
    return None
