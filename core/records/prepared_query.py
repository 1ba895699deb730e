"""A prepared query: a named question for the healthy instances of a service, kept by the servers and asked by name.

Fields that a definition leaves out stay None, and show as null, as in Consul.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.core.records.base import Indexed, Record

NAME_PREFIX_MATCH: Final = "name_prefix_match"
NEAR_AGENT: Final = "_agent"
NEAR_CLIENT: Final = "_ip"


class QueryTemplate(Record, frozen=True, kw_only=True):
    """With a `type` the query answers every name that begins with its own, and `${…}` in its strings are filled in."""

    type: str = ""
    regexp: str = ""
    remove_empty_tags: bool = False


class FailoverTarget(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One place to look next."""

    datacenter: str = ""


class QueryFailover(Record, frozen=True, kw_only=True):
    """Where to look when no instance is left here: the nearest so many datacenters, then those named; or the targets."""

    nearest_n: int = 0
    datacenters: tuple[str, ...] | None = None
    targets: tuple[FailoverTarget, ...] | None = None


class QueryService(Record, frozen=True, kw_only=True):
    """Which instances: of `service` (of its mesh with `connect`), not critical (passing, with `only_passing`) apart from
    `ignore_check_ids`, with all `tags` and none of those that begin with `!`, on nodes and with metadata that match.
    `near` names the node to sort by, or NEAR_AGENT, NEAR_CLIENT."""

    service: str = ""
    failover: QueryFailover = QueryFailover()
    only_passing: bool = False
    ignore_check_ids: tuple[str, ...] | None = msgspec.field(default=None, name="IgnoreCheckIDs")
    near: str = ""
    tags: tuple[str, ...] | None = None
    node_meta: dict[str, str] | None = None
    service_meta: dict[str, str] | None = None
    connect: bool = False


class QueryDNS(Record, frozen=True, kw_only=True):
    """The TTL of its DNS answers, a duration; "" for that of the service."""

    ttl: str = ""


class PreparedQuery(Indexed, frozen=True, kw_only=True):
    """`id` is a UUID; `name` is unique without regard to case, "" for one that is asked by its id. With a `session` it goes
    when that ends. `token` is what its execution runs with, once there are ACLs."""

    id: str
    name: str = ""
    session: str = ""
    token: str = ""
    template: QueryTemplate = QueryTemplate()
    service: QueryService = QueryService()
    dns: QueryDNS = QueryDNS()

    @property
    def is_template(self) -> bool:
        """Whether it answers names that begin with its own."""
        return bool(self.template.type)
