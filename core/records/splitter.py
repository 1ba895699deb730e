"""service-splitter: a service's traffic in parts by weight, as for a canary."""

from __future__ import annotations

from typing import ClassVar

from chowk.core.records.config_entry_base import ConfigEntry
from chowk.core.records.traffic import HeaderEdits, Part


class Split(Part, frozen=True, kw_only=True):
    """`weight` percent (to 0.01) go to `service` ("" is the splitter's own) and its subset."""

    weight: float
    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    partition: str = ""
    request_headers: HeaderEdits | None = None
    response_headers: HeaderEdits | None = None


class Sticky(Part, frozen=True, kw_only=True):
    """Whoever came to one split comes to it again: by the value of a header, or of a cookie made when there is none."""

    header: str = ""
    cookie: str = ""
    ttl: str = ""


class ServiceSplitter(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="service-splitter"):
    """The weights sum to 100."""

    kind: ClassVar[str] = "service-splitter"
    since: ClassVar[int] = 4
    splits: tuple[Split, ...] = ()
    sticky: Sticky | None = None
