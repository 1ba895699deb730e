"""One intention: may this source open connections to that destination? The flat form the API and the CLI show."""

from __future__ import annotations

import msgspec

from chowk.core.records.base import Indexed
from chowk.core.records.config_entry import Permission

ANY = "*"


class Intention(Indexed, frozen=True, kw_only=True):
    """`action` is allow or deny, or "" when `permissions` (L7) decide. `precedence` 9, 8, 6 or 5; the highest decides."""

    id: str = ""
    description: str = ""
    source_ns: str = msgspec.field(default="default", name="SourceNS")
    source_name: str
    destination_ns: str = msgspec.field(default="default", name="DestinationNS")
    destination_name: str
    source_type: str = "consul"
    action: str = ""
    permissions: tuple[Permission, ...] = ()
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    precedence: int = 0
    created_at: str = "0001-01-01T00:00:00Z"
    updated_at: str = "0001-01-01T00:00:00Z"


def precedence(source: str, destination: str) -> int:
    """Consul's order: exact→exact 9, any→exact 8, exact→any 6, any→any 5."""
    if destination != ANY:
        return 9 if source != ANY else 8
    return 6 if source != ANY else 5
