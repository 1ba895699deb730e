"""service-bypass: break glass. For a while a service is reached although intentions deny it or certificates have ended."""

from __future__ import annotations

from typing import ClassVar

from chowk.core.records.config_entry_base import ConfigEntry


class ServiceBypass(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="service-bypass"):
    """Connections to the service `name` until `expires` (RFC 3339, at most 24 hours away). It lapses by itself.

    Who connects still proves who it is, by a chain that ends at a trusted root; only what denies it, and the dates of
    certificates, count for nothing. `reason` and `by` are for those who ask later.
    """

    kind: ClassVar[str] = "service-bypass"
    since: ClassVar[int] = 4
    expires: str = ""
    reason: str = ""
    by: str = ""
