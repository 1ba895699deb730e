"""Gossip's sockets: one UDP port for packets, the TCP port of the same number for what is too long or must arrive.

Called by `driver`. Everything that arrives is unsealed here; what is not of our cluster goes no further than `refusals`.
Nobody outside the cluster can make us hold memory, tasks or time beyond the bounds named here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

import structlog

from chowk.agent.gossip.sealed import DATAGRAM, Refused, Sealer
from chowk.agent.gossip.streams import BUFFER_BYTES, MESSAGE_BYTES_MAX, Budget, Conversation, OverBudget
from chowk.core.runtime.refusals import Refusals
from chowk.core.runtime.sockets import PortTaken, bind_tcp, bind_udp
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.gossip")

DATAGRAM_BYTES_MAX: Final = 1400
"""A packet of ours at most, sealed: below every usual MTU. Longer ones are not read further."""

CONNECTIONS_MAX: Final = 64
"""Connections we answer at a time. One more pushes out the oldest that has not proved to be of the cluster yet; when all
have, it is the new one that is closed."""

HELD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all questions that are being read, together; one that goes over it is refused."""

STREAM_TIMEOUT_S: Final = 10.0
"""For a whole question and its answer, however slowly the other end sends: a trickle holds a connection no longer."""

FREE_PORT_TRIES: Final = 16
Address = tuple[str, int]


class Transport:
    """`on_datagram(payload, sender)` is called at once and must not block; `serve(question, sender)` gives the answer.

    Bind with `start`: OSError (PortTaken) names the port and its holder. `port` 0 takes a free one, the same for both.
    """

    def __init__(
        self,
        host: str,
        port: int,
        sealer: Sealer,
        refusals: Refusals,
        on_datagram: Callable[[bytes, Address], None],
        serve: Callable[[bytes, Address], Awaitable[bytes]],
        *,
        stream_timeout_s: float = STREAM_TIMEOUT_S,
    ) -> None:
        self._host = host
        self.port = port
        self._sealer = sealer
        self._refusals = refusals
        self._on_datagram = on_datagram
        self._serve = serve
        self._stream_timeout_s = stream_timeout_s
        self._tasks = TaskOwner("gossip-streams")
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._budget = Budget(HELD_BYTES_MAX)
        self._closed = asyncio.Event()
        self._paused = False
        self._inbound: dict[asyncio.Task[None], Conversation] = {}
        self.counts = {"sent": 0, "sent_bytes": 0, "received": 0, "received_bytes": 0, "dropped": 0, "streams": 0}

    async def start(self) -> None:
        """Bind both ports and listen."""
        tcp, udp = _bind_both(self._host, self.port)
        self.port = tcp.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._tcp = await asyncio.start_server(self._accept, sock=tcp, limit=BUFFER_BYTES)

    async def close(self) -> None:
        """Stop listening and end every conversation."""
        tcp, udp = self._tcp, self._udp
        self._tcp = self._udp = None
        if tcp is not None:
            tcp.close()
        if udp is not None:
            udp.close()
            # The port is free once the socket is: a restart of gossip must not find its own old one.
            await self._closed.wait()
        await self._tasks.close()
        if tcp is not None:
            await tcp.wait_closed()

    # --- datagrams

    @property
    def payload_bytes_max(self) -> int:
        """What fits in a datagram before it is sealed."""
        return DATAGRAM_BYTES_MAX - self._sealer.overhead

    def send(self, payload: bytes, to: Address) -> None:
        """Send a datagram, or drop it: when it is too long, the kernel's buffer is full, or `to` is no IP address.

        Only addresses in figures: they come from other members, and a name would be looked up while everything waits.
        """
        usable = self._udp is not None and not self._paused and len(payload) <= self.payload_bytes_max
        if self._udp is None or not usable or not _is_figures(*to):
            self.counts["dropped"] += 1
            return
        packet = self._sealer.seal(payload, DATAGRAM)
        self.counts["sent"] += 1
        self.counts["sent_bytes"] += len(packet)
        try:
            self._udp.sendto(packet, to)
        except (OSError, ValueError) as error:
            self.counts["dropped"] += 1
            log.debug("a packet could not be sent", to=to, error=str(error))

    def receive(self, packet: bytes, sender: Address) -> None:
        """Called by the socket for each datagram."""
        self.counts["received"] += 1
        self.counts["received_bytes"] += len(packet)
        if len(packet) > DATAGRAM_BYTES_MAX:
            # None of ours is so long; what waits to be read stays small.
            self._refusals.add("oversized", f"{sender[0]}:{sender[1]}", f"a packet of {len(packet)} bytes")
            return
        try:
            payload = self._sealer.open(packet, DATAGRAM)
        except Refused as refused:
            self.refuse(refused, sender)
            return
        self._on_datagram(payload, sender)

    def refuse(self, refused: Refused, sender: Address) -> None:
        """Count and tell of a packet that is not for us."""
        self._refusals.add(refused.reason, f"{sender[0]}:{sender[1]}", str(refused), refused.detail)

    def lost(self) -> None:
        """Called by the socket: it is closed."""
        self._closed.set()

    def pause(self, paused: bool) -> None:
        """Called by the socket: its buffer is full, or has room again."""
        self._paused = paused

    # --- streams

    async def ask(self, question: bytes, to: Address, timeout_s: float) -> bytes:
        """Connect to an IP address, ask, and give the answer. TimeoutError, OSError, EOFError; ValueError (NoGossip,
        RefusedByPeer, Refused, or `to` is a name: members are not believed when they send us to one).
        """
        if not _is_figures(*to):
            raise ValueError(f"{to[0]!r} is no IP address")
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(to[0], to[1], limit=BUFFER_BYTES)
            conversation = Conversation(reader, writer, self._sealer, Budget(MESSAGE_BYTES_MAX))
            try:
                return await conversation.ask(question)
            finally:
                conversation.drop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tcp is None or not self._make_room():
            writer.transport.abort()
            return
        conversation = Conversation(reader, writer, self._sealer, self._budget)
        task = self._tasks.spawn(self._answer(conversation, writer), "answer")
        self._inbound[task] = conversation
        task.add_done_callback(self._forget)
        self.counts["streams"] += 1

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._inbound.pop(task, None)

    def _make_room(self) -> bool:
        if len(self._inbound) < CONNECTIONS_MAX:
            return True
        unproved = next((task for task, each in self._inbound.items() if not each.known), None)
        if unproved is None:
            self._refusals.add("too-many-connections", "many", f"{CONNECTIONS_MAX} members ask at the same time")
            return False
        self._inbound.pop(unproved)
        unproved.cancel()
        self._refusals.add(
            "pushed-out", "many", "a connection that had not proved to be a member's made room for a newer"
        )
        return True

    async def _answer(self, conversation: Conversation, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("unknown", 0)  # gone again before we looked
        sender = (str(peer[0]), int(peer[1]))
        try:
            async with asyncio.timeout(self._stream_timeout_s):
                question = await conversation.hear()
                await conversation.answer(await self._serve(question, sender))
        except Refused as refused:
            self.refuse(refused, sender)
        except OverBudget as error:
            self._refusals.add("over-budget", f"{sender[0]}:{sender[1]}", str(error))
        except TimeoutError:
            self._refusals.add("slow", f"{sender[0]}:{sender[1]}", f"the stream took over {self._stream_timeout_s:g} s")
        except asyncio.IncompleteReadError as error:
            # Nothing at all is what a TCP health check sends.
            if error.partial or conversation.known:
                self._refusals.add("truncated", f"{sender[0]}:{sender[1]}", "the stream ended in the middle")
        except (OSError, ValueError) as error:
            log.debug("a stream ended", sender=sender, error=str(error))
        finally:
            conversation.drop()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, owner: Transport) -> None:
        self._owner = owner

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._owner.receive(data, (str(addr[0]), int(addr[1])))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._owner.lost()

    def error_received(self, exc: Exception) -> None:
        # A host that refuses tells us by ICMP; probing notices anyway.
        log.debug("gossip's socket", error=str(exc))

    def pause_writing(self) -> None:
        self._owner.pause(True)

    def resume_writing(self) -> None:
        self._owner.pause(False)


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """TCP and UDP of the same number."""
    for attempt in range(FREE_PORT_TRIES):
        tcp = bind_tcp(host, port, "gossip (ports.serf_lan)")
        try:
            return tcp, bind_udp(host, tcp.getsockname()[1], "gossip (ports.serf_lan)")
        except PortTaken:
            tcp.close()
            if port or attempt == FREE_PORT_TRIES - 1:
                raise
        except BaseException:
            tcp.close()
            raise
    raise PortTaken(errno.EADDRINUSE, f"gossip (ports.serf_lan): no port of {host} is free for both TCP and UDP")


@lru_cache(maxsize=4096)
def _is_figures(host: str, port: int) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return 0 < port < 65536
