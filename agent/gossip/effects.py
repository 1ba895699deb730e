"""What the gossip core asks of its shell, and what it tells it: frozen values, taken by `take_effects()` in order."""

from __future__ import annotations

import msgspec

from chowk.core.records.member import Member

Address = tuple[str, int]
"""Host (an IP literal once it comes from the core's members) and port."""


class SendDatagram(msgspec.Struct, frozen=True):
    """Seal `packet` (<= settings.MAX_PACKET_BYTES) and send it by UDP. May be lost."""

    address: Address
    packet: bytes


class OpenExchange(msgspec.Struct, frozen=True):
    """Dial `address` by TCP, send `request`, read one answer, all within `timeout_s`; then call `exchange_answered(id,
    answer, now)` or `exchange_failed(id, reason, now)`, exactly once. The other side answers by `serve_exchange`."""

    id: int
    address: Address
    request: bytes
    timeout_s: float


class JoinOutcome(msgspec.Struct, frozen=True):
    """How `join(address)` (which returned `id`) ended; `reason` says why not, "" where it did."""

    id: int
    address: Address
    reason: str = ""


class MemberChanged(msgspec.Struct, frozen=True):
    """A member is new, or its status, address, tags or `kept` changed."""

    member: Member


class Reaped(msgspec.Struct, frozen=True):
    """A member that was failed or left for long, or was pruned, is forgotten."""

    name: str


class NameConflict(msgspec.Struct, frozen=True):
    """`address` claims a name (or a node id) that another live member holds; refused. `reason` says it in words."""

    name: str
    address: Address
    reason: str


class UserEvent(msgspec.Struct, frozen=True):
    """A user event, once for each; `coalesce`d ones of one name within a moment come as the latest of them."""

    name: str
    payload: bytes
    time: int
    origin: str


class LeaveDone(msgspec.Struct, frozen=True):
    """`leave()` has been spread; the shell may stop."""


Effect = SendDatagram | OpenExchange | JoinOutcome | MemberChanged | Reaped | NameConflict | UserEvent | LeaveDone
