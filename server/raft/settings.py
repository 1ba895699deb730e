"""The core's times and limits. Made by the shell."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`election_timeout_s` is the least; each wait is drawn from it to twice it. It is also the leader's lease."""

    election_timeout_s: float = 1.0
    heartbeat_s: float = 0.15
    message_bytes_max: int = 1024 * 1024
    inflight_messages_max: int = 64
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    trailing_bytes_max: int = 64 * 1024 * 1024
    apply_entries_max: int = 256
    waiting_reads_max: int = 4096
