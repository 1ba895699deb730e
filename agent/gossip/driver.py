"""Gossip in the agent: the core with its loop, sockets, keys and files, and what the rest of the agent asks of it.

`agent.boot` makes one `Gossip` and starts it after the server child; the API and the reporter to the server read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import structlog

from chowk.agent.gossip.addresses import PORT
from chowk.agent.gossip.callbacks import Callbacks
from chowk.agent.gossip.cluster_keys import KEYS, ClusterKeys
from chowk.agent.gossip.core import GossipCore
from chowk.agent.gossip.effects import (
    Address,
    Effect,
    JoinOutcome,
    LeaveDone,
    MemberChanged,
    NameConflict,
    Reaped,
    UserEvent,
)
from chowk.agent.gossip.errors import GossipError
from chowk.agent.gossip.event_log import ClusterEvent, EventLog, concerns, decode_event, encode_event, new_event
from chowk.agent.gossip.joining import JoinFailed, Joining, Outcome
from chowk.agent.gossip.keyring import Keyring
from chowk.agent.gossip.loop import CORE, Loop
from chowk.agent.gossip.rotation import KeyringReply
from chowk.agent.gossip.sealed import MALFORMED, Refused, Sealer
from chowk.agent.gossip.settings import Settings
from chowk.agent.gossip.snapshot import Snapshot, read_snapshot, write_snapshot
from chowk.agent.gossip.transport import Transport
from chowk.core.errors import ChowkError, InvalidRequest, NotFound
from chowk.core.records import member
from chowk.core.records.coordinate import Coordinate
from chowk.core.records.member import Member
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.refusals import Refusals
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.gossip")

_OWN: Final = "this is you yourself"
_CONFLICTS: Final = ("name ", "node id ")
"""How the core's reasons begin that say that we joined ourselves, or that our name or node id is another's."""

SNAPSHOT_INTERVAL_S: Final = 5.0
"""Between two writings of the members for the next run."""


class GossipOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell needs besides the core's `Settings`. Seconds. `port` 0 takes a free one; `advertise_port` 0: `port`."""

    bind_addr: str = "127.0.0.1"
    port: int = 8301
    advertise_addr: str = "127.0.0.1"
    advertise_port: int = 0
    start_join: tuple[str, ...] = ()
    retry_join: tuple[str, ...] = ()
    retry_interval_s: float = 30.0
    retry_max: int = 0
    rejoin_after_leave: bool = False


class Gossip:
    """One member. `tags` as `Member` names them; `services()` gives (name, tags) of what runs here, for events' filters."""

    def __init__(
        self,
        name: str,
        tags: dict[str, str],
        options: GossipOptions,
        settings: Settings,
        keyring: Keyring,
        clock: Clock,
        rng: Random,
        data_dir: Path | None = None,
        services: Callable[[], Iterable[tuple[str, Iterable[str]]]] = tuple,
    ) -> None:
        self.name = name
        self.options = options
        self.events = EventLog()
        self._tags = tags
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._data_dir = data_dir
        self._services = services
        self._tasks = TaskOwner("gossip", self._crashed)
        self._refusals = Refusals("gossip", clock)
        self._sealer = Sealer(settings.datacenter, keyring.keys)
        self._transport = Transport(
            options.bind_addr, options.port, self._sealer, self._refusals, self._enqueue, self._serve
        )
        self._joining = Joining(self._join_one, self._is_own, clock, rng, options.port or PORT)
        self._keys = ClusterKeys(name, keyring, self._sealer, self._transport)
        self._loop: Loop | None = None
        self._members: dict[str, Member] = {}
        self._joins: dict[int, asyncio.Future[str]] = {}
        self._left = asyncio.Event()
        self._unsaved = asyncio.Event()
        self.changed: Callbacks[None] = Callbacks()
        """After members changed: once for several changes."""
        self.reaped: Callbacks[str] = Callbacks()
        """The name of each member that is forgotten, before `changed`."""
        self.fired: Callbacks[ClusterEvent] = Callbacks()
        """Each user event that concerns this agent."""
        self.fatal: Callbacks[str] = Callbacks()
        """This agent cannot become a member and gives up; the text says what to do."""

    # --- life

    async def start(self) -> None:
        """Bind, begin, and join what `start_join` says. OSError (PortTaken) or JoinFailed with a clear text."""
        options, now = self.options, self._clock.now()
        await self._transport.start()
        me = Member(
            name=self.name,
            address=options.advertise_addr,
            port=options.advertise_port or self._transport.port,
            tags=self._tags,
        )
        try:
            core = GossipCore(me, self._settings, self._rng, now)
            self._members = {one.name: one for one in core.members()}
            late_s = self._settings.probe_timeout_s
            self._loop = Loop(core, self._transport, self._tasks, self._clock, late_s, self._tell)
            self._tasks.spawn(self._loop.run(), "loop")
            if options.start_join:
                await self.join(options.start_join)
        except GossipError as error:
            await self.close()
            raise InvalidRequest(f"gossip cannot start: {error}") from error
        except JoinFailed as error:
            await self.close()
            raise error.within("start_join") from error
        except BaseException:
            await self.close()
            raise
        last = read_snapshot(self._data_dir)
        remembered = last.addresses if options.rejoin_after_leave or not last.left else ()
        if options.retry_join or (remembered and not options.start_join):
            self._tasks.spawn(self._rejoin(remembered), "join")
        self._tasks.spawn(self._keep_snapshot(), "snapshot")

    async def close(self) -> None:
        """Stop, without a word to the others (see `leave`)."""
        await self._tasks.close()
        for waiting in list(self._joins.values()):
            if not waiting.done():
                waiting.set_result("gossip ends here")
        await self._transport.close()
        if self._loop is not None:
            await self._save()

    @property
    def port(self) -> int:
        """Where gossip listens."""
        return self._transport.port

    # --- what the agent asks

    def members(self) -> list[Member]:
        """All, by name, this one among them."""
        return sorted(self._members.values(), key=lambda one: one.name)

    @property
    def me(self) -> Member:
        """This agent as the others see it."""
        return self._members[self.name]

    def coordinate(self) -> Coordinate | None:
        """Where this agent is in the network, as far as it has learned; None where it is not to."""
        return self._loop.core.coordinate() if self._loop is not None and self._settings.coordinates else None

    async def join(self, addresses: Sequence[str]) -> int:
        """Join whoever listens at these; how many took us in. JoinFailed naming each address and why, when none did."""
        return await self._joining.join(addresses)

    async def leave(self, timeout_s: float) -> bool:
        """Tell the others that we go; only a restart joins anybody after it. False when it could not be done in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                self._feed().leave(self._clock.now())
                await self._left.wait()
        await self._save()
        return self._left.is_set()

    async def force_leave(self, name: str, prune: bool) -> None:
        """Take a failed member for one that left; with `prune` forget it. NotFound; InvalidRequest for one that is alive."""
        if name not in self._members:
            raise NotFound(f"agent: No node found with name '{name}'")
        if name == self.name:
            raise InvalidRequest(f"{name} is the agent that was asked: it goes by `chowk leave`")
        core, now = self._feed(), self._clock.now()
        try:
            core.prune(name, now) if prune else core.force_leave(name, now)
        except GossipError as error:
            raise InvalidRequest(str(error)) from error

    def set_tag(self, name: str, value: str) -> None:
        """Say this too of this agent from now on, also before it starts. InvalidRequest when it is too much."""
        if self._tags.get(name) == value:
            return
        tags = {**self._tags, name: value}
        try:
            if self._loop is not None:
                self._feed().set_tags(tags, self._clock.now())
        except GossipError as error:
            raise InvalidRequest(str(error)) from error
        self._tags = tags

    async def fire(
        self, name: str, payload: bytes, *, node: str = "", service: str = "", tag: str = ""
    ) -> ClusterEvent:
        """Fire a user event: it reaches every agent, this one too. InvalidRequest when it is too long or makes no sense."""
        event = new_event(name, payload, node, service, tag)
        try:
            self._feed().user_event(name, encode_event(event), self._clock.now())
        except GossipError as error:
            raise InvalidRequest(f"the event is too long: {error} (its filters and id count)") from error
        return event

    async def change_keys(self, operation: str, key: str = "", *, local_only: bool = False) -> KeyringReply:
        """`list`, `install`, `use` or `remove` a key (base64) at every member that is alive, or at this one.

        RotationFailed naming each member that did not do it; InvalidRequest when the key is none, or gossip is plain.
        """
        alive = (member.ALIVE, member.LEAVING)
        asked = [one for one in self.members() if one.name == self.name or (one.status in alive and not local_only)]
        return await self._keys.change(operation, key, asked)

    def keys(self) -> tuple[str, ...]:
        """The keys in base64, the primary one first; none: gossip is plain."""
        return self._keys.keys()

    def on_keys(self, callback: Callable[[tuple[str, ...]], None]) -> Callable[[], None]:
        """Call back with the keys (as `keys()`) after each change; returns what ends that."""
        return self._keys.changed.add(callback)

    def stats(self) -> dict[str, str]:
        """Counters and gauges, for `chowk info` and metrics."""
        counted = {f"members_{status}": 0 for status in (member.ALIVE, member.LEAVING, member.LEFT, member.FAILED)}
        for one in self._members.values():
            counted[f"members_{one.status}"] += 1
        refused = {f"refused_{reason.replace('-', '_')}": count for reason, count in self._refusals.counts.items()}
        core = self._loop.core.counters() if self._loop is not None else {}
        shell = {
            "members": len(self._members),
            "members_kept": sum(one.kept for one in self._members.values()),
            "packets_not_read": self._loop.dropped if self._loop is not None else 0,
            "encrypted": str(bool(self.keys())).lower(),
        }
        packets = {f"packets_{name}": count for name, count in self._transport.counts.items()}
        return {name: str(value) for name, value in {**core, **packets, **refused, **counted, **shell}.items()}

    # --- what the core tells

    def _tell(self, effects: Sequence[Effect]) -> None:
        changed = False
        for effect in effects:
            match effect:
                case MemberChanged():
                    self._tell_change(effect.member)
                    changed = True
                case Reaped():
                    self._members.pop(effect.name, None)
                    log.info("a member is forgotten", member=effect.name)
                    self.reaped.call(effect.name)
                    changed = True
                case JoinOutcome():
                    waiting = self._joins.pop(effect.id, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(effect.reason)
                case NameConflict():
                    self._tell_conflict(effect)
                case UserEvent():
                    self._take_event(effect)
                case LeaveDone():
                    self._left.set()
        if changed:
            self._unsaved.set()
            self.changed.call(None)

    def _tell_change(self, now: Member) -> None:
        before = self._members.get(now.name)
        self._members[now.name] = now
        if before is None or (before.status, before.kept) != (now.status, now.kept):
            status = "kept alive, though out of reach" if now.kept else now.status
            log.info("member", member=now.name, status=status, address=f"{now.address}:{now.port}")

    def _tell_conflict(self, conflict: NameConflict) -> None:
        if conflict.name == self.name:
            log.error(
                "another agent claims to be this one; give each its own node_name and data_dir, and stop the copy",
                why=conflict.reason,
                other=f"{conflict.address[0]}:{conflict.address[1]}",
            )
            return
        log.warning("refused a member", member=conflict.name, why=conflict.reason, address=conflict.address)

    def _take_event(self, effect: UserEvent) -> None:
        try:
            event = decode_event(effect.name, effect.payload, effect.time)
        except ValueError as error:
            log.warning("a user event that makes no sense was passed over", event_name=effect.name, error=str(error))
            return
        if concerns(event, self.name, self._services()):
            self.events.add(event)
            self.fired.call(event)

    async def _serve(self, question: bytes, _sender: Address) -> bytes:
        kind, body = question[:1], question[1:]
        if kind == CORE:
            return self._feed().serve_exchange(body, self._clock.now())
        if kind == KEYS:
            return await self._keys.serve(body)
        raise Refused(MALFORMED)

    def _enqueue(self, packet: bytes, sender: Address) -> None:
        if self._loop is not None:
            self._loop.enqueue(packet, sender)

    def _crashed(self, task: str, error: BaseException) -> None:
        if task.endswith(":loop"):
            self.fatal.call(f"gossip ended: {error}")

    def _feed(self) -> GossipCore:
        if self._loop is None:
            raise ChowkError("gossip has not started")
        return self._loop.feed()

    # --- joining

    async def _join_one(self, address: Address) -> Outcome:
        try:
            join_id = self._feed().join(address, self._clock.now())
        except GossipError as error:
            return Outcome(str(error))
        waiting = self._joins[join_id] = asyncio.get_running_loop().create_future()
        try:
            reason = await waiting
        finally:
            self._joins.pop(join_id, None)
        return Outcome(reason, own=reason == _OWN, refused=reason.startswith(_CONFLICTS))

    def _is_own(self, address: Address) -> bool:
        return address in ((self.me.address, self.me.port), (self.options.bind_addr, self._transport.port))

    async def _rejoin(self, remembered: Sequence[Address]) -> None:
        options = self.options
        tries_max = options.retry_max if options.retry_join else 0
        try:
            await self._joining.keep_trying(
                options.retry_join, remembered, options.retry_interval_s, tries_max, self._has_company
            )
        except JoinFailed as error:
            self._give_up(str(error.within("retry_join")))
        except InvalidRequest as error:
            self._give_up(f"retry_join: {error}")

    def _give_up(self, why: str) -> None:
        log.error("giving up", why=why)
        self.fatal.call(why)

    def _has_company(self) -> bool:
        return any(one.status == member.ALIVE and one.name != self.name for one in self._members.values())

    # --- the members of this run, for the next

    async def _keep_snapshot(self) -> None:
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            await self._save()
            await self._clock.sleep(SNAPSHOT_INTERVAL_S)

    async def _save(self) -> None:
        others = [one for one in self.members() if one.name != self.name and one.status != member.LEFT]
        # Alone, we would forget the last run's members, whom we may still look for.
        if others or self._left.is_set():
            addresses = tuple((one.address, one.port) for one in others)
            snapshot = Snapshot(addresses=addresses, left=self._left.is_set())
            await asyncio.to_thread(write_snapshot, self._data_dir, snapshot)
