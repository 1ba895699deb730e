"""Packets open where they were meant and nowhere else."""

from __future__ import annotations

import random

import pytest

from chowk.agent.gossip.sealed import (
    ANSWER,
    DATAGRAM,
    KEYS_DIFFER,
    MALFORMED,
    NOT_ENCRYPTED,
    OTHER_DATACENTER,
    QUESTION,
    UNEXPECTED_ENCRYPTION,
    Refused,
    Sealer,
)

KEY, OTHER = b"k" * 32, b"o" * 16


def reason(sealer: Sealer, packet: bytes, channel: bytes = DATAGRAM, context: bytes = b"") -> str:
    with pytest.raises(Refused) as refused:
        sealer.open(packet, channel, context)
    return refused.value.reason


@pytest.mark.parametrize("keys", [(), (KEY,), (OTHER, KEY)])
def test_what_was_sealed_opens_and_costs_no_more_than_announced(keys: tuple[bytes, ...]) -> None:
    sealer = Sealer("dc1", keys)
    packet = sealer.seal(b"payload", DATAGRAM)
    assert sealer.open(packet, DATAGRAM) == b"payload"
    assert len(packet) <= len(b"payload") + sealer.overhead
    assert (b"payload" in packet) is not bool(keys)


def test_every_key_of_the_ring_opens_and_the_first_seals() -> None:
    old, new = Sealer("dc1", (KEY,)), Sealer("dc1", (OTHER, KEY))
    assert new.open(old.seal(b"x", DATAGRAM), DATAGRAM) == b"x"
    assert reason(old, new.seal(b"x", DATAGRAM)) == KEYS_DIFFER
    new.set_keys((KEY, OTHER))
    assert old.open(new.seal(b"x", DATAGRAM), DATAGRAM) == b"x"
    new.set_keys((OTHER,))
    assert reason(new, old.seal(b"x", DATAGRAM)) == KEYS_DIFFER


def test_plain_is_refused_with_keys_and_encrypted_without() -> None:
    keyed, plain = Sealer("dc1", (KEY,)), Sealer("dc1", ())
    assert reason(keyed, plain.seal(b"x", DATAGRAM)) == NOT_ENCRYPTED
    assert reason(plain, keyed.seal(b"x", DATAGRAM)) == UNEXPECTED_ENCRYPTION


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_another_datacenter_is_named(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(Refused) as refused:
        Sealer("dc1", keys).open(Sealer("paris", keys).seal(b"x", DATAGRAM), DATAGRAM)
    assert (refused.value.reason, refused.value.detail) == (OTHER_DATACENTER, "paris")


def test_a_packet_cannot_be_moved_to_another_datacenter() -> None:
    packet = Sealer("dc2", (KEY,)).seal(b"x", DATAGRAM)
    assert reason(Sealer("dc1", (KEY,)), packet.replace(b"dc2", b"dc1", 1)) == KEYS_DIFFER


def test_a_packet_cannot_be_moved_to_another_channel_or_conversation() -> None:
    sealer = Sealer("dc1", (KEY,))
    packet = sealer.seal(b"x", QUESTION, b"challenge-1")
    assert sealer.open(packet, QUESTION, b"challenge-1") == b"x"
    assert reason(sealer, packet, ANSWER, b"challenge-1") == KEYS_DIFFER
    assert reason(sealer, packet, QUESTION, b"challenge-2") == KEYS_DIFFER
    assert reason(sealer, packet, DATAGRAM) == KEYS_DIFFER


def test_a_packet_with_any_byte_changed_or_missing_is_refused() -> None:
    sealer = Sealer("dc1", (KEY,))
    packet = sealer.seal(b"payload", DATAGRAM)
    for place in range(len(packet)):
        reason(sealer, packet[:place] + bytes([packet[place] ^ 1]) + packet[place + 1 :])
        reason(sealer, packet[:place])


def test_garbage_is_refused_and_nothing_else_happens() -> None:
    rng = random.Random(7)
    keyed, plain = Sealer("dc1", (KEY,)), Sealer("dc1", ())
    for _ in range(3000):
        data = rng.randbytes(rng.randrange(80))
        reason(keyed, data)
        reason(plain, data)
    assert reason(keyed, b"") == MALFORMED


def test_the_same_payload_never_looks_the_same() -> None:
    sealer = Sealer("dc1", (KEY,))
    assert len({sealer.seal(b"x", DATAGRAM) for _ in range(100)}) == 100
