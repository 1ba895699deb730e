"""The core's times and limits. Made by the shell."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`election_timeout_s` is the least; each wait is drawn from it to half more. For that long a voter that heard a leader
    helps no other into an election: the leader's lease counts on it.

    `message_bytes_max` is of one message's entries; `inflight_*_max` of all that is under way to one server and not
    answered; `trailing_bytes_max` of the entries that are kept behind a snapshot.
    """

    election_timeout_s: float = 1.0
    heartbeat_s: float = 0.15
    message_bytes_max: int = 1024 * 1024
    inflight_messages_max: int = 64
    inflight_bytes_max: int = 16 * 1024 * 1024
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    trailing_bytes_max: int = 64 * 1024 * 1024
    apply_entries_max: int = 256
    waiting_reads_max: int = 4096
