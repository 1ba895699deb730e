"""The base of all config entries. Subclassed by `config_entry`, `resolver`, `router`, `splitter` and `mesh`."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from chowk.core.records.base import Indexed


class ConfigEntry(Indexed, frozen=True, kw_only=True, tag_field="Kind"):
    """A replicated setting of the mesh; (kind, name) is unique."""

    since: ClassVar[int] = 1
    """The COMMANDS_VERSION that knows the kind first, and, where they came later, `fields_since` of its fields."""
    fields_since: ClassVar[dict[str, int]] = {}
    name: str = ""
    meta: dict[str, str] = msgspec.field(default_factory=dict)
