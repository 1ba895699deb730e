"""The flat view of intentions: one `Intention` for each source of a `service-intentions` entry. Pure.

Called by the state store (events, queries) and by endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid5

import msgspec

from chowk.core.records.config_entry import ServiceIntentions, SourceIntention
from chowk.core.records.intention import Intention, precedence

_IDS = UUID("3d9e6c6b-6e3a-5b63-9d0f-2c8a1f9f7a54")
"""The namespace (RFC 9562 section 5.5) of the ids of intentions that were written without one."""


def intention_id(source: str, destination: str) -> str:
    """A UUID that is always the same for this pair."""
    return str(uuid5(_IDS, f"{len(source)}:{source}{destination}"))


def flatten(entry: ServiceIntentions) -> tuple[Intention, ...]:
    """The intentions of an entry, in the order it has them."""
    return tuple(
        Intention(
            create_index=entry.create_index,
            modify_index=entry.modify_index,
            id=source.legacy_id or intention_id(source.name, entry.name),
            description=source.description,
            source_name=source.name,
            destination_name=entry.name,
            source_type=source.type,
            action=source.action,
            permissions=source.permissions,
            meta=source.legacy_meta or entry.meta,
            precedence=precedence(source.name, entry.name),
            created_at=source.legacy_create_time or "0001-01-01T00:00:00Z",
            updated_at=source.legacy_update_time or "0001-01-01T00:00:00Z",
        )
        for source in entry.sources
    )


def in_order(intentions: Iterable[Intention]) -> tuple[Intention, ...]:
    """Highest precedence first, then by destination, then by source."""
    return tuple(sorted(intentions, key=lambda each: (-each.precedence, each.destination_name, each.source_name)))


def arranged(name: str, sources: Iterable[SourceIntention]) -> tuple[SourceIntention, ...]:
    """The sources of the entry `name` as they are stored: precedence filled in, the highest first, then by name."""
    filled = [msgspec.structs.replace(source, precedence=precedence(source.name, name)) for source in sources]
    return tuple(sorted(filled, key=lambda each: (-each.precedence, each.name)))
