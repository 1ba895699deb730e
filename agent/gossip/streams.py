"""One question and one answer over a TCP connection, sealed piece by piece. Called by `transport`, from both ends.

The listener speaks first: MAGIC and a fresh challenge. Then the dialler sends its question and the listener its answer, each
as pieces: 4 bytes (the top bit: this is the last one; the rest: the length), then a sealed packet of up to PIECE_BYTES. The
seal of each piece binds the challenge and the piece's number, so nothing can be replayed, reordered, cut or mirrored. Only
whoever passed the first piece may make us hold more than one. A length of 0 is a refusal in the clear (reason, length and
name of the listener's datacenter): nobody acts on it, it only tells a person why joining failed.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from chowk.agent.gossip import sealed
from chowk.agent.gossip.sealed import ANSWER, QUESTION, Refused, Sealer

MAGIC: Final = b"chowk-gossip/1\n"
CHALLENGE_BYTES: Final = 16
PIECE_BYTES: Final = 64 * 1024
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The longest question or answer: 16 MiB hold the states of some 60,000 members."""

BUFFER_BYTES: Final = PIECE_BYTES + 1024
_LAST: Final = 1 << 31
_REASONS: Final = tuple(sorted(sealed.WORDS))
_TOLD: Final = {
    sealed.OTHER_DATACENTER: "it is of another datacenter, {0!r}",
    sealed.NOT_ENCRYPTED: "gossip there is encrypted, and here it is not: set `encrypt` to the key of the cluster",
    sealed.UNEXPECTED_ENCRYPTION: "gossip there is not encrypted, and here it is: set `encrypt` there, or nowhere",
    sealed.KEYS_DIFFER: "the gossip keys there and here differ: set `encrypt` to the key of the cluster (a keyring's file "
    "in data_dir counts before it)",
}


class NoGossip(ValueError):
    """The other end does not speak this protocol."""


class RefusedByPeer(ValueError):
    """The other end, of `datacenter`, refused our question; `reason` is one of `sealed.WORDS`. Unproved."""

    def __init__(self, reason: str, datacenter: str) -> None:
        super().__init__(_TOLD.get(reason, "it refused what we sent: " + sealed.WORDS[reason]).format(datacenter))
        self.reason = reason
        self.datacenter = datacenter


class OverBudget(ValueError):
    """Too much is being read at the same time."""


class Budget:
    """How many bytes conversations may hold together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def take(self, size: int) -> None:
        """Hold `size` more. OverBudget when that is too much; nothing is held then."""
        if self._used + size > self._limit:
            raise OverBudget(f"what is being read would hold over {self._limit} bytes")
        self._used += size

    def give(self, size: int) -> None:
        """Hold `size` less."""
        self._used -= size


class Conversation:
    """One connection; `known` once a piece of the other end opened. The caller gives the deadline, and drops it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sealer: Sealer, budget: Budget
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._sealer = sealer
        self._budget = budget
        self._held = 0
        self._challenge = b""
        self.known = False
        # What drain() let pass is the kernel's: the connection may be dropped at once, whatever the other end reads.
        writer.transport.set_write_buffer_limits(high=0)

    async def ask(self, question: bytes) -> bytes:
        """As the dialler: the answer. NoGossip, RefusedByPeer, Refused, OSError, EOFError."""
        hello = await self._reader.readexactly(len(MAGIC) + CHALLENGE_BYTES)
        if not hello.startswith(MAGIC):
            raise NoGossip("what listens there is no gossip of chowk")
        self._challenge = hello[len(MAGIC) :]
        await self._send(question, QUESTION)
        return await self._receive(ANSWER)

    async def hear(self) -> bytes:
        """As the listener: the question. Refused (after telling the dialler why), OSError, EOFError."""
        self._challenge = os.urandom(CHALLENGE_BYTES)
        self._writer.write(MAGIC + self._challenge)
        await self._writer.drain()
        try:
            return await self._receive(QUESTION)
        except Refused as refused:
            label = self._sealer.datacenter.encode()[:255]
            self._writer.write(bytes(4) + bytes([_REASONS.index(refused.reason), len(label)]) + label)
            await self._writer.drain()
            raise

    async def answer(self, answer: bytes) -> None:
        """As the listener: send the answer. OSError."""
        await self._send(answer, ANSWER)

    def drop(self) -> None:
        """End it, without waiting for what the other end does."""
        self._budget.give(self._held)
        self._held = 0
        self._writer.transport.abort()

    async def _send(self, message: bytes, channel: bytes) -> None:
        if len(message) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a gossip message of {len(message)} bytes is over the limit of {MESSAGE_BYTES_MAX}")
        for number, start in enumerate(range(0, max(1, len(message)), PIECE_BYTES)):
            last = start + PIECE_BYTES >= len(message)
            piece = message[start : start + PIECE_BYTES]
            packet = self._sealer.seal(piece, channel, self._context(number, last))
            self._writer.write((len(packet) | (_LAST if last else 0)).to_bytes(4, "big") + packet)
            await self._writer.drain()

    async def _receive(self, channel: bytes) -> bytes:
        message = bytearray()
        for number in range(MESSAGE_BYTES_MAX // PIECE_BYTES + 1):
            header = int.from_bytes(await self._reader.readexactly(4), "big")
            last, length = bool(header & _LAST), header & (_LAST - 1)
            if length == 0 and channel == ANSWER:
                code, size = await self._reader.readexactly(2)
                label = (await self._reader.readexactly(size)).decode(errors="replace")
                raise RefusedByPeer(_reason(code), label)
            if length > PIECE_BYTES + self._sealer.overhead:
                raise Refused(sealed.MALFORMED)
            if self.known:
                self._budget.take(length)
                self._held += length
            packet = await self._reader.readexactly(length)
            message += self._sealer.open(packet, channel, self._context(number, last))
            self.known = True
            if last:
                return bytes(message)
        raise Refused(sealed.MALFORMED)

    def _context(self, number: int, last: bool) -> bytes:
        return self._challenge + number.to_bytes(4, "big") + bytes([last])


def _reason(code: int) -> str:
    return _REASONS[code] if code < len(_REASONS) else sealed.MALFORMED
