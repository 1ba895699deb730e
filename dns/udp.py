"""DNS over UDP: one socket, read in batches. Owned by the server.

The socket is read directly rather than through a transport: that lets everything which waits in the kernel be read at
once, so that under overload it is ours to say which packets are still worth an answer (`backlog`), and it is cheaper.
One turn answers for ANSWER_S at most; then the loop's other work, the agent's HTTP and checks among it, has its turn.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import partial

from chowk.core.runtime.clock import Clock
from chowk.dns import codec
from chowk.dns.backlog import Backlog, Packet, Peer
from chowk.dns.limits import Via
from chowk.dns.rate import RateLimiter, Verdict
from chowk.dns.responder import Responder
from chowk.dns.settings import RateSettings

RECEIVE_BUFFER_BYTES = 1024 * 1024
"""The queue that the kernel keeps while the loop is busy; it drops the newest, and may allow less."""

READS_MAX = 1024
ANSWER_S = 0.002
CLOCK_EACH = 16


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

    async def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.get_running_loop()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
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
        """Read what there is, answer as much of it as the turn's time allows, newest first."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        if self._loop is None:
            return
        read_at = self._clock.now()
        packets = self._read()
        now = self._answer(packets, read_at, read_at + ANSWER_S)
        backlog, dropped = self._backlog, self._backlog.dropped
        if packets:
            backlog.add(packets, read_at)
        else:
            while len(backlog) and now < read_at + ANSWER_S:
                now = self._answer([backlog.newest()], now, now)
        backlog.expire(now)
        self._responder.stats.dropped_late += backlog.dropped - dropped
        if len(backlog):
            self._next_turn = self._loop.call_soon(self._turn)

    def _read(self) -> list[Packet]:
        found: list[Packet] = []
        receive = self._sock.recvfrom
        try:
            while len(found) < READS_MAX:
                found.append(receive(codec.REQUEST_BYTES_MAX + 1))
        except OSError:
            pass  # nothing is left, or an earlier reply could not be delivered: the client's matter
        return found

    def _answer(self, packets: list[Packet], now: float, until: float) -> float:
        """Answer from the end of `packets`, taking out what was answered, until none is left or it is late. The time then.

        This loop is what a ready reply costs, so it looks at the clock only now and then, and counts at its end.
        """
        near, far = self._caches
        sendto, is_limited, ready = self._sock.sendto, self._limiter.limits_loopback, 0
        while packets:
            data, peer = packets.pop()
            is_near = is_loopback(peer[0])
            reply = (near if is_near else far).get(data, now)
            if reply is None:
                self._handle(data, peer, is_near)
                now = self._clock.now()
            else:
                ready += 1
                if is_near and not is_limited and peer[1]:
                    try:
                        sendto(reply, peer)
                    except OSError:
                        self._responder.stats.dropped_full += 1
                else:
                    self._send(data, peer, reply)
                if ready % CLOCK_EACH == 0:
                    now = self._clock.now()
            if now >= until:
                break
        self._responder.count_ready(ready)
        return now

    def _handle(self, data: bytes, peer: Peer, is_near: bool) -> None:
        via = Via.UDP_LOCAL if is_near else Via.UDP_REMOTE
        self._responder.handle(data, via, partial(self._send, data, peer))

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


def _is_mapped_loopback(host: str) -> bool:
    mapped = ipaddress.IPv6Address(host.partition("%")[0]).ipv4_mapped
    return mapped is not None and mapped.is_loopback
