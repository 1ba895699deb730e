"""Bytes to gossip's messages and back. Pure and total: whatever the bytes, the outcome is messages or MalformedPacket.

A packet is a msgpack array of messages, put together from parts that were encoded once, so that a broadcast costs its
encoding once however often it is sent. Called by `core` and what it is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from chowk.agent.gossip.errors import MalformedPacket
from chowk.agent.gossip.messages import ExchangeMessage, Message
from chowk.agent.gossip.settings import MAX_EXCHANGE_BYTES, MAX_PACKET_BYTES

PACKET_HEADER_BYTES: Final = 3
"""At most what the array's header takes."""

_encoder = msgspec.msgpack.Encoder()
_packets = msgspec.msgpack.Decoder(list[Message])
_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_messages = msgspec.msgpack.Decoder(Message)
_exchanges: msgspec.msgpack.Decoder[ExchangeMessage] = msgspec.msgpack.Decoder(ExchangeMessage)


def encode_message(message: Message) -> bytes:
    """One part of a packet."""
    return _encoder.encode(message)


def join_parts(parts: Sequence[bytes]) -> bytes:
    """Parts as a packet."""
    count = len(parts)
    header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return header + b"".join(parts)


def decode_packet(packet: bytes) -> list[Message]:
    """The messages of a packet; kinds that a later release added are passed over. MalformedPacket."""
    if len(packet) > MAX_PACKET_BYTES:
        raise MalformedPacket(f"a packet of {len(packet)} bytes is over the limit of {MAX_PACKET_BYTES}")
    try:
        return _packets.decode(packet)
    except msgspec.ValidationError:
        return _known_messages(packet)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedPacket(str(error)) from None


def _known_messages(packet: bytes) -> list[Message]:
    """The messages of a packet of which some part did not fit: those that do, if any does."""
    known: list[Message] = []
    problem = ""
    try:
        for raw in _raws.decode(packet):
            try:
                known.append(_messages.decode(raw))
            except msgspec.ValidationError as error:
                problem = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedPacket(str(error)) from None
    if not known:
        raise MalformedPacket(problem)
    return known


def encode_exchange(message: ExchangeMessage) -> bytes:
    """A question or an answer of an exchange."""
    return _encoder.encode(message)


def decode_exchange(data: bytes) -> ExchangeMessage:
    """MalformedPacket where it is none."""
    if len(data) > MAX_EXCHANGE_BYTES:
        raise MalformedPacket(f"{len(data)} bytes are over the limit of {MAX_EXCHANGE_BYTES}")
    try:
        return _exchanges.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedPacket(str(error)) from None
