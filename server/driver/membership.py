"""Changes of who is a member, on the leader, each until it is committed. Used by `server.consensus`."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from chowk.core.errors import InvalidRequest, NoLeader, OutcomeUnknown
from chowk.server.driver.engine import Engine
from chowk.server.port import PeerProgress
from chowk.server.raft.errors import ChangeRefused, NotLeading
from chowk.server.raft.records import Configuration, Member

log = structlog.get_logger("chowk.consensus")
TRANSFER_LOOK_S: Final = 0.02


class Membership:
    """See server.port.Consensus for what each does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _leading(self) -> Configuration:
        engine = self._engine
        if not engine.has_begun or engine.stopping or not engine.core.leads:
            raise NoLeader
        return engine.core.configuration

    async def add_learner(self, id: str, address: str, node: str, timeout_s: float) -> None:
        """Add a member without a vote, or give a member another address or name."""
        configuration = self._leading()
        known = configuration.member(id)
        if not id or not address:
            raise InvalidRequest("a server needs an id and an address")
        holder = next((member for member in configuration.members if member.address == address), None)
        if holder is not None and holder.id != id:
            raise InvalidRequest(f"the server {holder.id} ({holder.node}) has the address {address}: remove it first")
        wanted = Member(id, address, node, known.voter if known is not None else False)
        if wanted != known:
            await self._change(configuration.joined_by(wanted), f"{id} at {address} joins", timeout_s)

    async def promote(self, id: str, timeout_s: float) -> None:
        """Let a learner vote."""
        configuration = self._leading()
        known = self._member(configuration, id)
        if not known.voter:
            wanted = msgspec.structs.replace(known, voter=True)
            await self._change(configuration.joined_by(wanted), f"{id} votes", timeout_s)

    async def remove(self, id: str, timeout_s: float) -> None:
        """Remove a member."""
        configuration = self._leading()
        self._member(configuration, id)
        await self._change(configuration.left_by(id), f"{id} leaves", timeout_s)

    @staticmethod
    def _member(configuration: Configuration, id: str) -> Member:
        known = configuration.member(id)
        if known is None:
            raise InvalidRequest(f"no server with the id {id!r} is in the Raft configuration")
        return known

    async def _change(self, configuration: Configuration, what: str, timeout_s: float) -> None:
        engine = self._engine
        engine.proposals.check_room()
        try:
            index = engine.core.change_configuration(configuration, engine.clock.now())
        except NotLeading as error:
            raise NoLeader(str(error)) from error
        except ChangeRefused as error:
            raise InvalidRequest(f"the membership cannot be changed now: {error}") from error
        log.info("membership changes", change=what, index=index)
        engine.schedule()
        await engine.proposals.result(index, engine.core.term, timeout_s)

    async def transfer(self, target: str, timeout_s: float) -> None:
        """Hand leadership over. The core gives up by itself after an election timeout, and leads on. That is an
        OutcomeUnknown: to be tried again by itself would keep the writes waiting each time."""
        configuration = self._leading()
        engine = self._engine
        chosen = target or self._best(configuration)
        if target:
            self._member(configuration, target)
            known = self.progress().get(target)
            if known is not None and known.last_contact_s >= engine.settings.election_timeout_s:
                raise InvalidRequest(f"{target} was not heard for {known.last_contact_s:.1f} s; leadership stays here")
        try:
            engine.core.transfer_leadership(chosen, engine.clock.now())
        except NotLeading as error:
            raise NoLeader(str(error)) from error
        except ChangeRefused as error:
            raise InvalidRequest(str(error)) from error
        log.info("leadership is handed over", to=chosen)
        engine.schedule()
        deadline = engine.clock.now() + min(timeout_s, 2 * engine.settings.election_timeout_s)
        while engine.core.leads and engine.failure is None:
            if engine.clock.now() >= deadline:
                raise OutcomeUnknown(f"{chosen} did not take over in time; this server leads on")
            await asyncio.sleep(TRANSFER_LOOK_S)

    def _best(self, configuration: Configuration) -> str:
        """The voter that was heard in time and is furthest."""
        engine = self._engine
        known = self.progress()
        others = [voter for voter in configuration.voters if voter != engine.id and voter in known]
        fresh = [voter for voter in others if known[voter].last_contact_s < engine.settings.election_timeout_s]
        if not fresh:
            raise InvalidRequest("no other voter is there to hand leadership to")
        return max(fresh, key=lambda voter: (known[voter].match, voter))

    def progress(self) -> dict[str, PeerProgress]:
        """How far each other member is."""
        engine = self._engine
        if not engine.has_begun:
            return {}
        now, last = engine.clock.now(), engine.core.last_index
        return {
            peer: PeerProgress(known.match, last, max(0.0, now - known.contact_s), known.relapses)
            for peer, known in engine.core.progress().items()
        }
