"""Whatever bytes come in: messages, or MalformedPacket. And the core takes anything without raising."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.agent.gossip.codec import decode_exchange, decode_packet, encode_exchange, encode_message, join_parts
from chowk.agent.gossip.core import GossipCore
from chowk.agent.gossip.errors import GossipError, MalformedPacket
from chowk.agent.gossip.messages import (
    MAX_COUNTER,
    Ack,
    Alive,
    Broadcast,
    ExchangeMessage,
    Gone,
    IndirectPing,
    MemberState,
    Message,
    Nack,
    Ping,
    Refusal,
    StreamAck,
    StreamPing,
    Suspect,
    Sync,
)
from chowk.agent.gossip.roster import said_by
from chowk.agent.gossip.settings import MAX_PACKET_BYTES, Settings
from support.gossip_sim import agent_member

counters = st.integers(0, 5) | st.sampled_from([MAX_COUNTER - 1, MAX_COUNTER])
names = st.sampled_from(["n0000", "n0001", "n0002", "x"])
alives = st.builds(
    Alive,
    counters,
    names,
    st.sampled_from(["10.0.0.1", "10.0.0.9", "::1"]),
    st.integers(1, 65535),
    st.integers(0, 3),
    st.booleans(),
    st.fixed_dictionaries({"dc": st.sampled_from(["dc1", "dc2"]), "id": st.sampled_from(["a", "b", ""])}),
)
broadcasts = st.builds(Broadcast, counters, names, st.just(0), names, st.binary(max_size=20), st.booleans())
messages = st.one_of(
    st.builds(Ping, counters, names, names),
    st.builds(Ack, counters),
    st.builds(Nack, counters),
    st.builds(IndirectPing, counters, names, st.just("10.0.0.9"), st.integers(1, 65535)),
    st.builds(Suspect, counters, names, names),
    alives,
    st.builds(Gone, counters, names, names, st.integers(0, 2)),
    broadcasts,
)
states = st.builds(MemberState, alives, st.integers(0, 3), st.floats(0, 1e9))
syncs = st.builds(
    Sync,
    st.booleans(),
    st.sampled_from(["dc1", "dc2"]),
    st.integers(0, 2),
    st.lists(states, min_size=1, max_size=4).map(tuple),
    counters,
    st.lists(broadcasts, max_size=3).map(tuple),
)
exchanges = st.one_of(syncs, st.builds(StreamPing, names), st.builds(StreamAck, names), st.builds(Refusal, names))


def packet_of(*parts: Message) -> bytes:
    return join_parts([encode_message(part) for part in parts])


def a_core() -> GossipCore:
    return GossipCore(agent_member(0), Settings(), random.Random(1), 0.0)


@given(st.lists(messages, max_size=20))
def test_what_is_encoded_is_decoded_the_same(parts: list[Message]) -> None:
    packet = packet_of(*parts)
    if len(packet) <= MAX_PACKET_BYTES:
        assert decode_packet(packet) == parts


@given(exchanges)
def test_exchanges_survive_the_wire(message: ExchangeMessage) -> None:
    assert decode_exchange(encode_exchange(message)) == message


@given(st.binary(max_size=200))
def test_garbage_is_malformed_or_messages_and_nothing_else(data: bytes) -> None:
    for decode in (decode_packet, decode_exchange):
        try:
            decode(data)
        except MalformedPacket:
            pass


@given(st.lists(messages, min_size=1, max_size=4), st.data())
def test_a_packet_cut_short_or_flipped_is_malformed_or_messages(parts: list[Message], data: st.DataObject) -> None:
    packet = bytearray(packet_of(*parts))
    cut = data.draw(st.integers(0, len(packet) - 1))
    with pytest.raises(MalformedPacket):
        decode_packet(bytes(packet[:cut]))
    packet[cut] ^= data.draw(st.integers(1, 255))
    try:
        decode_packet(bytes(packet))
    except MalformedPacket:
        pass


def test_an_oversized_packet_is_malformed_before_it_is_read() -> None:
    with pytest.raises(MalformedPacket, match="limit"):
        decode_packet(bytes(MAX_PACKET_BYTES + 1))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 1200, b"\xd9\x02\xff\xff", b"\x91\x95\x05\x01\xa1\xff\xa1a"],
)
def test_known_nasty_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        decode_packet(data)
    with pytest.raises(MalformedPacket):
        decode_exchange(data)


def test_kinds_and_fields_of_a_later_release_are_passed_over() -> None:
    later = join_parts(
        [encode_message(Ack(1)), msgspec.msgpack.encode([99, "new"]), msgspec.msgpack.encode([3, 2, "one more field"])]
    )
    assert decode_packet(later) == [Ack(1), Nack(2)]


def test_an_answer_of_a_release_that_knows_no_coordinates_is_one_without() -> None:
    assert decode_packet(join_parts([msgspec.msgpack.encode([2, 7])])) == [Ack(7, b"")]


@pytest.mark.parametrize(
    "message",
    [
        Ping(MAX_COUNTER + 1, "a", "b"),
        Ack(1, b"x" * 129),
        Suspect(1, "n" * 129, "b"),
        Alive(1, "a", "10.0.0.1", 0, 1, False, {}),
        Alive(1, "a", "10.0.0.1", 8301, 1, False, {"k": "v" * 257}),
        Gone(1, "a", "b", 3),
        Broadcast(1, "a", 0, "b", b"x" * 513, False),
        Broadcast(1, "a", 1, "b", b"", False),
    ],
)
def test_values_out_of_bounds_are_malformed(message: Message) -> None:
    with pytest.raises(MalformedPacket):
        decode_packet(packet_of(message))


@settings(max_examples=300)
@given(st.lists(st.one_of(messages, syncs, st.binary(max_size=60), st.floats(0.01, 9)), max_size=40))
def test_the_core_takes_anything_and_keeps_its_own_truth(inputs: list[Message | Sync | bytes | float]) -> None:
    core, now, sent = a_core(), 0.0, 0
    sender = ("10.0.0.1", 8301)
    for one in inputs:
        if isinstance(one, float):
            now += one
            core.handle_timer(max(now, core.next_deadline()))
        elif isinstance(one, Sync):
            core.serve_exchange(encode_exchange(one), now)
            core.exchange_answered(1, encode_exchange(one), now)
        elif isinstance(one, bytes):
            core.receive(one, sender, now)
            core.serve_exchange(one, now)
            core.exchange_answered(1, one, now)
        else:
            core.receive(packet_of(one), sender, now)
        sent += len(core.take_effects())
    own = next(member for member in core.members() if member.name == "n0000")
    assert (own.address, own.status) == ("10.0.0.0", "alive")
    assert {member.tags["dc"] for member in core.members()} == {"dc1"}
    assert sent <= 100 * (len(inputs) + 1)


def test_malformed_input_is_counted() -> None:
    core = a_core()
    core.receive(b"\xff", ("10.0.0.1", 8301), 0.0)
    assert core.serve_exchange(b"\xff", 0.0) == b""
    assert core.counters()["malformed_packets"] == core.counters()["malformed_exchanges"] == 1


def test_an_incarnation_at_its_end_is_answered_without_going_over() -> None:
    core = a_core()
    core.receive(packet_of(Suspect(MAX_COUNTER, "n0000", "x")), ("10.0.0.1", 8301), 0.0)
    assert core.describe()["incarnation"] == MAX_COUNTER


def test_the_largest_member_there_may_be_fits_into_one_packet() -> None:
    me = agent_member(0, name="n" * 128, host="f" * 39)
    tags = me.tags | {f"tag{number}": "" for number in range(20)}
    room = 512 - sum(len(key) + len(value) for key, value in tags.items()) - 8
    tags |= {"pad1": "x" * (room // 2), "pad2": "x" * (room - room // 2)}
    GossipCore(msgspec.structs.replace(me, tags=tags), Settings(), random.Random(1), 0.0)
    packet = packet_of(Ping(1, "n" * 128, "n" * 128), said_by(msgspec.structs.replace(me, tags=tags), MAX_COUNTER))
    assert len(packet) <= MAX_PACKET_BYTES
    assert len(decode_packet(packet)) == 2


def test_a_member_that_others_would_not_take_is_refused_at_the_start() -> None:
    for me in (agent_member(0, name="n" * 129), msgspec.structs.replace(agent_member(0), tags={"pad": "x" * 257})):
        with pytest.raises(GossipError):
            GossipCore(me, Settings(), random.Random(1), 0.0)
