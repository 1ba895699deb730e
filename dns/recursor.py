"""Asks the configured recursors for names that are not ours. Called by the responder.

A reply counts only when it comes from the address asked, to the port asked from (both by a connected socket with a
port of the kernel's choice), with our random id and our question (RFC 5452). Equal questions in flight share one
exchange: that denies an attacker many guesses at once, and ends a loop of forwarders, whose second turn then waits
for the first until it times out. Names that belong to us never get here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import secrets
from collections.abc import Sequence

import msgspec

from chowk.dns import codec
from chowk.dns.codec import Edns, Query
from chowk.dns.records import CLASS_IN, NOERROR, NXDOMAIN, AddressRecord, AliasRecord, Name

Endpoint = tuple[str, int]

DNS_PORT = 53
EXCHANGES_MAX = 256  # each holds a socket, and the agent has other uses for its file descriptors


class Recursor:
    """Asks `endpoints` in their order, or by `rng` in another each time, each for `timeout_s` at most, until one has an
    answer."""

    def __init__(self, endpoints: Sequence[Endpoint], timeout_s: float, rng: random.Random | None = None) -> None:
        self._endpoints = tuple(endpoints)
        self._rng = rng
        self._timeout_s = timeout_s
        self._asking: dict[tuple[Query, bool, int], asyncio.Future[bytes]] = {}

    async def resolve(self, query: Query, *, tcp: bool, size: int) -> bytes | None:
        """The reply to `query`, with its id; None when no recursor gave one, or EXCHANGES_MAX are in flight.

        `size` is what the client takes over UDP; a `tcp` client gets the whole answer, others TC and ask again.
        """
        key = (msgspec.structs.replace(query, id=0), tcp, size)
        waiting = self._asking.get(key)
        if waiting is not None:
            reply = await asyncio.shield(waiting)
        elif len(self._asking) >= EXCHANGES_MAX:
            return None
        else:
            waiting = self._asking[key] = asyncio.get_running_loop().create_future()
            reply = b""
            try:
                reply = await self._resolve(query, tcp, size)
            finally:
                del self._asking[key]
                waiting.set_result(reply)
        return query.id.to_bytes(2, "big") + reply[2:] if reply else None

    async def addresses(self, name: Name, kind: int) -> list[AddressRecord | AliasRecord]:
        """The records of type `kind` (A or AAAA) that `name` leads to, aliases before their targets; [] for none."""
        edns = Edns(codec.OWN_UDP_BYTES, 0, False, False)
        query = Query(0, 0, True, False, name, kind, CLASS_IN, edns)
        reply = await self.resolve(query, tcp=True, size=codec.OWN_UDP_BYTES)
        return codec.decode_addresses(reply, name, kind) if reply is not None else []

    async def _resolve(self, query: Query, tcp: bool, size: int) -> bytes:
        """The first reply that settles the question, else the last one that any recursor gave, else b""."""
        last = b""
        endpoints = self._endpoints
        for endpoint in endpoints if self._rng is None else self._rng.sample(endpoints, len(endpoints)):
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await _ask_udp(endpoint, query, size)
                    if tcp and codec.is_truncated(reply):
                        reply = await _ask_tcp(endpoint, query, size)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            last = reply
            if codec.rcode_of(reply) in (NOERROR, NXDOMAIN):
                break
        return last


class _Exchange(asyncio.DatagramProtocol):
    """One question over UDP; whatever does not match it is ignored."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self.reply.done() and codec.is_reply_to(data, self._question):
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _ask_udp(endpoint: Endpoint, query: Query, size: int) -> bytes:
    question = codec.encode_query(query, secrets.randbits(16), size)
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(lambda: _Exchange(question), remote_addr=endpoint)
    try:
        transport.sendto(question)
        return await exchange.reply
    finally:
        transport.close()


async def _ask_tcp(endpoint: Endpoint, query: Query, size: int) -> bytes:
    question = codec.encode_query(query, secrets.randbits(16), size)
    reader, writer = await asyncio.open_connection(*endpoint)
    try:
        writer.write(len(question).to_bytes(2, "big") + question)
        reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
    if not codec.is_reply_to(reply, question):
        raise ConnectionError("a reply to another question")
    return reply


def parse_recursor(text: str) -> Endpoint:
    """`1.2.3.4`, `1.2.3.4:5353`, `2001:db8::1`, `[2001:db8::1]:5353` as (address, port). ValueError for anything else.

    Host names are refused: to look one up is what a recursor is for.
    """
    host, port = text, str(DNS_PORT)
    if text.startswith("[") and "]" in text:
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 0xFFFF):
        raise ValueError(f'invalid port in recursor "{text}": use an IP address or IP:port, like "10.0.0.2:53"')
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        raise ValueError(f'invalid recursor "{text}": use an IP address or IP:port, like "10.0.0.2:53"') from None
