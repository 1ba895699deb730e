"""The RPC that tells what writing config entries would change: names, requests, replies, permission. See `core.requests`."""

from __future__ import annotations

from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.requests import Message, Method, QueryMeta, QueryOptions


class ConfigPlanQuery(Message, frozen=True, kw_only=True):
    """What would become of these entries, written together in an order in which they can be."""

    entries: tuple[AnyConfigEntry, ...]
    options: QueryOptions = QueryOptions()


class PlannedChange(Message, frozen=True, kw_only=True):
    """One entry as it is (None: there is none) and as it would be."""

    old: AnyConfigEntry | None = None
    new: AnyConfigEntry


class AffectedService(Message, frozen=True, kw_only=True):
    """A service whose settings, or whose way there, would change: `instances` of it that are in the mesh, and `sidecars`
    that dial it. The name `*`: every service; all sidecars there are."""

    service: str
    instances: int = 0
    sidecars: int = 0


class ConfigPlan(Message, frozen=True, kw_only=True):
    """`changes` are of entries that would differ from what is stored. `refusal` is what a write of all would be refused
    with, "" when it would be done; `warnings` are what it would do and nobody may mean."""

    changes: tuple[PlannedChange, ...] = ()
    affected: tuple[AffectedService, ...] = ()
    refusal: str = ""
    warnings: tuple[str, ...] = ()


class ConfigPlanReply(Message, frozen=True, kw_only=True):
    """The plan, as of what is stored at `meta.index`."""

    meta: QueryMeta
    plan: ConfigPlan


CONFIG_PLAN = Method("ConfigEntry.Plan", ConfigPlanQuery, ConfigPlanReply, "config:read")
