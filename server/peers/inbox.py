"""What comes in from other servers: who may speak, what may be said, and then the core hears it. Made by `peers`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

import msgspec
import structlog

from chowk.core.errors import PermissionDenied
from chowk.core.runtime.rpc.endpoints import Peer
from chowk.server.peers.inspection import fault
from chowk.server.peers.local import RUNS, Local
from chowk.server.peers.messages import MESSAGES_MAX, Envelope, Origin, StatusReply, StatusRequest
from chowk.server.peers.promises import Promises
from chowk.server.peers.transport import PeerTransport
from chowk.server.raft.messages import AppendRequest, InstallSnapshot, Message

log = structlog.get_logger("chowk.peers")
_decoder: Final = msgspec.msgpack.Decoder(Message)


class Inbox:
    """Handlers of Raft.Messages and Raft.Status, and the admission that snapshots go through too."""

    def __init__(self, local: Local, transport: PeerTransport, promises: Promises) -> None:
        self._local = local
        self._transport = transport
        self._promises = promises
        self._unknown_told = False
        self._settling: asyncio.Task[None] | None = None

    async def status(self, request: StatusRequest, peer: Peer) -> StatusReply:
        """What this server is; and why it does not listen to the caller, if so."""
        local = self._local
        core = local.engine.core
        refusal = ""
        try:
            local.check_origin(request.origin, peer)
            if request.target and request.target != local.member.id:
                refusal = f"{local.member.address} is {local.member.id}, not {request.target}"
            elif not local.engine.is_blank and request.origin.cluster not in ("", local.cluster):
                refusal = str(local.refuse("cluster", peer.name, local.stranger(request.origin)))
            else:
                local.hear_release(request.origin.id, request.runs)
        except PermissionDenied as error:
            refusal = str(error)
        promise = self._promises.current
        return StatusReply(
            origin=local.origin,
            blank=local.engine.is_blank,
            expect=local.expect,
            term=core.term,
            last_index=core.last_index,
            promised=promise.promised,
            founding=promise.configuration,
            refusal=refusal,
            runs=RUNS,
        )

    def admit(self, origin: Origin, voter: bool, peer: Peer) -> None:
        """PermissionDenied when this server does not listen to `origin`. A blank server becomes part of its cluster: the one
        it helped to found (a moment later: what came is to be said again), or one that adds it."""
        local = self._local
        local.check_origin(origin, peer)
        if not local.engine.is_blank:
            if origin.cluster != local.cluster:
                raise local.refuse("cluster", peer.name, local.stranger(origin))
            return
        mine = self._promises.current.configuration
        if mine.members and mine.cluster == origin.cluster:
            self._settle(self._promises.found(mine))
            raise PermissionDenied(f"{local.member.node} begins with what it helped to found")
        if voter:
            raise local.refuse("lost", peer.name, _lost(origin, local.member.id))
        if mine.member(origin.id) is not None:
            self._settle(self._promises.forget())
            raise PermissionDenied(f"{local.member.node} forgets what it helped to found")
        if mine.members:
            words = (
                f"{origin.node} is of a cluster that is not the one this server helps to found: it waits to know more"
            )
            raise local.refuse("founding", peer.name, words)
        if local.adopted != origin.cluster:
            local.adopted = origin.cluster
            log.info("added to a cluster", cluster=origin.cluster, by=origin.node)

    def _settle(self, work: Coroutine[None, None, None]) -> None:
        if self._settling is not None and not self._settling.done():
            work.close()
            return
        self._settling = self._local.engine.tasks.spawn(work, "founding")

    def messages(self, envelope: Envelope, peer: Peer) -> None:
        """Hand over what may be heard."""
        local = self._local
        if not local.engine.has_begun:
            return
        try:
            self.admit(envelope.origin, envelope.voter, peer)
        except PermissionDenied:
            local.count("messages_refused", len(envelope.messages))
            return
        if len(envelope.messages) > MESSAGES_MAX:
            local.refuse(
                "size", peer.name, f"{len(envelope.messages)} messages came at once; {MESSAGES_MAX} is the most"
            )
            return
        self._transport.meet(envelope.origin)
        for raw in envelope.messages:
            message = self._decoded(raw, peer)
            if message is not None:
                self._hear(message, envelope.origin, peer)

    def _hear(self, message: Message, origin: Origin, peer: Peer) -> None:
        local = self._local
        wrong = fault(message, origin.id, local.member.id)
        if not wrong and isinstance(message, InstallSnapshot):
            wrong = "a snapshot came without its bytes"
        if wrong:
            local.refuse("message", peer.name, f"a {type(message).__name__} of {origin.node} is refused: {wrong}")
        elif isinstance(message, AppendRequest) or not local.engine.is_blank:
            # A blank server has no say: it may be one that lost what it voted for.
            local.count("messages_received")
            local.engine.receive(message)

    def _decoded(self, raw: msgspec.Raw, peer: Peer) -> Message | None:
        try:
            message: Message = _decoder.decode(raw)
        except (ValueError, RecursionError) as error:
            self._local.count("messages_unknown")
            if not self._unknown_told:
                self._unknown_told = True
                log.warning(
                    "passed over a message that this release does not know (a newer one does?)",
                    sender=peer.name, reason=str(error),
                )  # fmt: skip
            return None
        return message


def _lost(origin: Origin, id: str) -> str:
    return (
        f"{origin.node} ({origin.address}) counts this server ({id}) among its voters, but its data is gone: it may have "
        f"acknowledged what it does not know any more. Run `chowk operator raft remove-peer -id={id}` on another server; "
        "the leader then adds it again"
    )
