"""What servers say to one another (Raft dissertation, figures 3.1 and 3.4, and chapters 4, 6 and 9).

`term` is the sender's, but for pre-votes, which ask about a term nobody is in yet. Frozen and tagged: a transport may send
them as msgpack and read them back as `Message`.
"""

from __future__ import annotations

import msgspec

from chowk.server.raft.records import Entry, SnapshotMeta


class Base(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The envelope."""

    sender: str
    target: str
    term: int


class PreVoteRequest(Base, frozen=True, kw_only=True):
    """Would you vote for me in `term`? Asked before disturbing anyone."""

    last_index: int
    last_term: int


class PreVoteResponse(Base, frozen=True, kw_only=True):
    """`term` is the one asked about when granted, else the answerer's own."""

    granted: bool


class VoteRequest(Base, frozen=True, kw_only=True):
    """Vote for me. With `transfer`, the leader itself asked for this election, so no lease stands against it."""

    last_index: int
    last_term: int
    transfer: bool = False


class VoteResponse(Base, frozen=True, kw_only=True):
    """A vote, durable at the voter, or its refusal."""

    granted: bool


class AppendRequest(Base, frozen=True, kw_only=True):
    """Entries after (`prev_index`, `prev_term`); none of them is a heartbeat. `round` is echoed, for read indexes.

    Who answers promises to help no other server into an election for `promise_s`, or for its own election timeout where
    that is longer: the leader's lease is shorter than that, also while servers with other settings are among them.
    `is_news`: it only tells what is committed, of entries that were acknowledged, so that who agrees need not answer.
    """

    prev_index: int
    prev_term: int
    commit: int
    round: int
    promise_s: float = 0.0
    entries: tuple[Entry, ...] = ()
    is_news: bool = False


class AppendResponse(Base, frozen=True, kw_only=True):
    """`match`: the last index known to be the leader's, durable here. Refused: where the logs may agree (`hint_*`)."""

    success: bool
    prev_index: int
    match: int
    round: int
    hint_index: int = 0
    hint_term: int = 0


class InstallSnapshot(Base, frozen=True, kw_only=True):
    """The receiver is too far behind for the log. The bytes go beside it: hand this to the core once all are here."""

    meta: SnapshotMeta
    round: int
    promise_s: float = 0.0


class TimeoutNow(Base, frozen=True, kw_only=True):
    """Start an election at once: the leader hands over (dissertation 3.10)."""


class ReadIndexRequest(Base, frozen=True, kw_only=True):
    """A follower's read wants the leader's commit index, confirmed."""

    context: int


class ReadIndexResponse(Base, frozen=True, kw_only=True):
    """The answer; `index` is 0 when the sender does not lead."""

    context: int
    index: int


Message = (
    PreVoteRequest | PreVoteResponse | VoteRequest | VoteResponse | AppendRequest | AppendResponse | InstallSnapshot
    | TimeoutNow | ReadIndexRequest | ReadIndexResponse
)  # fmt: skip
