"""What a broken or hostile server may not say: none of it reaches the core."""

from __future__ import annotations

import msgspec
import pytest

from chowk.server.driver.proposals import ENTRY_BYTES_MAX
from chowk.server.peers.inspection import fault
from chowk.server.raft.messages import (
    AppendRequest,
    AppendResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    VoteRequest,
    VoteResponse,
)  # fmt: skip
from chowk.server.raft.records import Configuration, Entry, EntryKind, Member, SnapshotMeta

MEMBERS = Configuration((Member("a", "a:1"), Member("b", "b:1")), "nonce")


def append(*entries: Entry, **fields) -> AppendRequest:
    known = {"sender": "a", "target": "b", "term": 5, "prev_index": 3, "prev_term": 2, "commit": 3, "round": 1}
    return AppendRequest(**{**known, **fields}, entries=entries)


def snapshot(meta: SnapshotMeta) -> InstallSnapshot:
    return InstallSnapshot(sender="a", target="b", term=5, meta=meta, round=1)


def test_what_servers_say_is_let_through() -> None:
    good: list[Message] = [
        append(),
        append(prev_index=0, prev_term=0),
        append(Entry(4, 2), Entry(5, 5, EntryKind.CONFIGURATION, MEMBERS.encode())),
        snapshot(SnapshotMeta(9, 5, MEMBERS, 1)),
        VoteRequest(sender="a", target="b", term=5, last_index=9, last_term=4),
        VoteResponse(sender="a", target="b", term=5, granted=True),
    ]
    assert [fault(message, "a", "b") for message in good] == [""] * len(good)


@pytest.mark.parametrize(
    "message",
    [
        append(sender="c"),
        append(target="c"),
        append(term=0),
        append(term=2**63),
        append(commit=-1),
        append(prev_index=0),
        append(prev_term=0),
        append(prev_term=6),
        append(Entry(5, 5)),
        append(Entry(4, 5), Entry(6, 5)),
        append(Entry(4, 5), Entry(4, 5)),
        append(Entry(4, 1)),
        append(Entry(4, 6)),
        append(Entry(4, 5), Entry(5, 4)),
        append(Entry(4, 5, EntryKind.COMMAND, b"x" * (ENTRY_BYTES_MAX + 1))),
        append(Entry(4, 5, EntryKind.CONFIGURATION, b"garbage")),
        append(Entry(4, 5, EntryKind.CONFIGURATION, Configuration().encode())),
        append(Entry(4, 5, EntryKind.CONFIGURATION, Configuration(MEMBERS.members[::-1]).encode())),
        append(Entry(4, 5, EntryKind.CONFIGURATION, Configuration(MEMBERS.members * 2).encode())),
        snapshot(SnapshotMeta(0, 1, MEMBERS, 0)),
        snapshot(SnapshotMeta(9, 6, MEMBERS, 1)),
        snapshot(SnapshotMeta(9, 5, MEMBERS, 10)),
        snapshot(SnapshotMeta(9, 5, Configuration(), 1)),
        VoteRequest(sender="a", target="b", term=5, last_index=9, last_term=6),
        PreVoteRequest(sender="a", target="b", term=5, last_index=-9, last_term=4),
        AppendResponse(sender="a", target="b", term=5, success=True, prev_index=1, match=2**62 + 1, round=1),
    ],
)
def test_what_cannot_be_is_refused(message: Message) -> None:
    assert fault(message, "a", "b")


def test_an_entry_of_a_kind_that_is_not_known_does_not_even_decode() -> None:
    wire = msgspec.msgpack.encode(append(Entry(4, 5)))
    raw = msgspec.msgpack.decode(wire)
    raw["entries"][0][2] = 9
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(raw), type=Message)
