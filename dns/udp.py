"""DNS over UDP: one socket, read in batches. Owned by the server.

The socket is read directly rather than through a transport: that lets everything which waits in the kernel be read at
once, so that under overload it is ours to say which packets are still worth an answer (`backlog`), and it is cheaper.
Replies that are ready cost little and are always sent; what must be worked out gets ANSWER_S a turn, and then the loop's
other work, the agent's HTTP and checks among it, has its turn.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import lru_cache, partial

from chowk.core.runtime.clock import Clock
from chowk.dns import codec
from chowk.dns.backlog import Backlog, Packet, Peer
from chowk.dns.limits import Via
from chowk.dns.rate import RateLimiter, Verdict
from chowk.dns.responder import Responder
from chowk.dns.settings import RateSettings

PEERS_MAX = 4096
"""IPv6 addresses of which it is remembered whether they are our own host's."""

RECEIVE_BUFFER_BYTES = 1024 * 1024
"""The queue that the kernel keeps while the loop is busy; it drops the newest, and may allow less."""

BATCH, BATCHES_MAX = 128, 8
ANSWER_S = 0.001
REST_S = 0.001
"""Under overload, how long DNS leaves the loop to others after each turn."""


class UdpListener:
    """Answers datagrams. A reply that the kernel does not take at once is dropped, as UDP may."""

    def __init__(self, sock: socket.socket, responder: Responder, clock: Clock, rate: RateSettings) -> None:
        self._sock = sock
        self._responder = responder
        self._clock = clock
        self._limiter = RateLimiter(rate)
        self._caches = (responder.cache(Via.UDP_LOCAL), responder.cache(Via.UDP_REMOTE))
        self._backlog = Backlog()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_turn: asyncio.Handle | None = None
        self._resting = False
        self._paused = False

    async def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.get_running_loop()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._loop.add_reader(self._sock.fileno(), self._turn)

    def pause(self) -> None:
        """Read no more: another process does. What was read is answered."""
        if self._loop is not None:
            self._paused = True
            self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        """Read again, also what waits since the other process died."""
        if self._loop is not None and self._paused:
            self._paused = False
            if not self._resting:
                self._loop.add_reader(self._sock.fileno(), self._turn)

    async def close(self) -> None:
        """Stop, and close the socket."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop = None
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._sock.close()

    def limit(self, rate: RateSettings) -> None:
        """Limit replies by other settings from now on."""
        self._limiter = RateLimiter(rate)

    def _turn(self) -> None:
        """Read what there is, send what is ready, then answer as much of the rest as the turn's time allows."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        if self._loop is None:
            return
        if self._resting:
            self._resting = False
            if not self._paused:
                self._loop.add_reader(self._sock.fileno(), self._turn)
        now = self._clock.now()
        backlog, dropped = self._backlog, self._backlog.dropped
        for _ in range(0 if self._paused else BATCHES_MAX):
            packets = self._read()
            backlog.add(self._send_ready(packets, now), now)
            if len(packets) < BATCH:
                break
        now = self._clock.now()
        until = now + ANSWER_S
        while len(backlog) and now < until:
            data, peer = backlog.newest()
            via = Via.UDP_LOCAL if is_loopback(peer[0]) else Via.UDP_REMOTE
            self._responder.handle(data, via, partial(self._send, data, peer))
            now = self._clock.now()
        backlog.expire(now)
        self._responder.stats.dropped_late += backlog.dropped - dropped
        if backlog.is_standing(now):
            self._resting = True
            self._loop.remove_reader(self._sock.fileno())
            self._next_turn = self._loop.call_later(REST_S, self._turn)
        elif len(backlog):
            self._next_turn = self._loop.call_soon(self._turn)

    def _read(self) -> list[Packet]:
        found: list[Packet] = []
        receive = self._sock.recvfrom
        try:
            while len(found) < BATCH:
                found.append(receive(codec.REQUEST_BYTES_MAX + 1))
        except OSError:
            pass  # nothing is left, or an earlier reply could not be delivered: the client's matter
        return found

    def _send_ready(self, packets: list[Packet], now: float) -> list[Packet]:
        """Reply to those whose reply is ready, newest first; the others, oldest first.

        This loop is what a reply from the wire cache costs, so it counts at its end.
        """
        near, far = self._caches
        sendto, is_limited, ready = self._sock.sendto, self._limiter.limits_loopback, 0
        others: list[Packet] = []
        for packet in reversed(packets):
            data, peer = packet
            is_near = is_loopback(peer[0])
            reply = (near if is_near else far).get(data, now)
            if reply is None:
                others.append(packet)
                continue
            ready += 1
            if not is_near or is_limited or not peer[1]:
                self._send(data, peer, reply)
                continue
            try:
                sendto(reply, peer)
            except OSError:
                self._responder.stats.dropped_full += 1
        self._responder.count_ready(ready)
        others.reverse()
        return others

    def _send(self, data: bytes, peer: Peer, reply: bytes) -> None:
        if self._loop is None or peer[1] == 0:  # nobody can be at port 0
            return
        stats = self._responder.stats
        verdict = self._limiter.judge(peer[0], reply, self._clock.now())
        if verdict is Verdict.DROP:
            stats.dropped_rate += 1
            return
        if verdict is Verdict.TRUNCATE:
            stats.slipped += 1
            reply = codec.slip(data, reply)
        try:
            self._sock.sendto(reply, peer)
        except OSError:
            stats.dropped_full += 1


def is_loopback(host: str) -> bool:
    """Is this peer on our own host?"""
    return host.startswith("127.") or host == "::1" or (":" in host and _is_mapped_loopback(host))


@lru_cache(maxsize=PEERS_MAX)
def _is_mapped_loopback(host: str) -> bool:
    mapped = ipaddress.IPv6Address(host.partition("%")[0]).ipv4_mapped
    return mapped is not None and mapped.is_loopback
