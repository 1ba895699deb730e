"""Which prepared query a name means, and which instances it picks. Pure.

Called by `server.rpc.prepared_query` for HTTP and by `agent.query_lookup` for DNS, so that both answer alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from chowk.core.errors import InvalidRequest
from chowk.core.query_template import Template
from chowk.core.records.check import PASSING, WARNING
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.prepared_query import PreparedQuery, QueryService

BY_NAME_ONLY: Final = "prepared query templates can only be resolved up by name, not by ID"


class QueryIndex:
    """All prepared queries as they are asked for: by id, by name, by the longest template that a name begins with."""

    def __init__(self, queries: Iterable[PreparedQuery]) -> None:
        self._by_id: dict[str, PreparedQuery] = {}
        self._by_name: dict[str, PreparedQuery] = {}
        self._templates: dict[str, PreparedQuery] = {}
        self._compiled: dict[str, Template | None] = {}
        for query in queries:
            self._by_id[query.id] = query
            if query.is_template:
                self._templates[query.name.lower()] = query
            if query.name:
                self._by_name[query.name.lower()] = query
        self._lengths = sorted({len(query.name) for query in self._templates.values()}, reverse=True)

    def resolve(self, asked: str, segment: str = "") -> PreparedQuery | None:
        """The query of this id or name, filled in when it is a template; None when there is none. InvalidRequest for the id
        of a template, which means no name."""
        by_id = self._by_id.get(asked.lower())
        if by_id is not None:
            if by_id.is_template:
                raise InvalidRequest(BY_NAME_ONLY)
            return by_id
        if not asked:
            return None
        query = self._by_name.get(asked.lower()) or self._longest(asked)
        if query is None:
            return None
        if query.id not in self._compiled:
            try:
                self._compiled[query.id] = Template(query)
            except ValueError:  # of a newer release; whoever wrote it was told what is wrong with it
                self._compiled[query.id] = None
        template = self._compiled[query.id]
        return None if template is None else template.render(asked, segment)

    def _longest(self, name: str) -> PreparedQuery | None:
        found = (self._templates.get(name[:length].lower()) for length in self._lengths if length <= len(name))
        return next((query for query in found if query is not None), None)


def chosen(service: QueryService, instances: Iterable[ServiceInstance]) -> list[ServiceInstance]:
    """The instances that the query picks."""
    return list(filter(picker(service), instances))


def picker(service: QueryService) -> Callable[[ServiceInstance], bool]:
    """Whether an instance is well enough and has the tags and metadata that the query asks for."""
    ignored = frozenset(service.ignore_check_ids or ())
    tags = [tag.lower() for tag in service.tags or ()]
    wanted = {tag for tag in tags if not tag.startswith("!")}
    unwanted = {tag[1:] for tag in tags if tag.startswith("!")}
    well = frozenset({PASSING} if service.only_passing else {PASSING, WARNING})

    def is_picked(instance: ServiceInstance) -> bool:
        for check in instance.checks:
            if check.status not in well and check.check_id not in ignored:
                return False
        if tags:
            have = {tag.lower() for tag in instance.service.tags}
            if not (wanted <= have) or unwanted & have:
                return False
        return _has(service.node_meta, instance.node.meta) and _has(service.service_meta, instance.service.meta)

    return is_picked


def shuffled(instances: Sequence[ServiceInstance], rng: random.Random) -> list[ServiceInstance]:
    """In another order each time."""
    return rng.sample(instances, len(instances))


def own_first(instances: Sequence[ServiceInstance], node: str) -> list[ServiceInstance]:
    """Those of the node (without regard to case) in front, the others as they were."""
    wanted = node.lower()
    return sorted(instances, key=lambda instance: instance.node.node.lower() != wanted) if node else list(instances)


def _has(wanted: Mapping[str, str] | None, have: Mapping[str, str]) -> bool:
    return not wanted or all(have.get(key) == value for key, value in wanted.items())
