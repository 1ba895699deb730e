"""The base of all config entries. Subclassed by `config_entry`, `resolver`, `router`, `splitter` and `mesh`."""

from __future__ import annotations

import msgspec

from chowk.core.records.base import Indexed


class ConfigEntry(Indexed, frozen=True, kw_only=True, tag_field="Kind"):
    """A replicated setting of the mesh; (kind, name) is unique."""

    name: str = ""
    meta: dict[str, str] = msgspec.field(default_factory=dict)
