"""What a reader wants of a service's instances, and the JSON of it. Pure but for the turns it gives others. Called by
`known_instances`, and by those who read requests: `instances`, `quick_gets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chowk.agent.api.catalog_service import CatalogService, catalog_service
from chowk.agent.api.errors import bad_request
from chowk.agent.api.query import Query
from chowk.agent.api.turns import kept
from chowk.core import codec
from chowk.core.filter.expression import compile_filter
from chowk.core.filter.syntax import FilterError
from chowk.core.records.check import PASSING
from chowk.core.records.instance import ServiceInstance

HEALTH: Final = "health"
CATALOG: Final = "catalog"
_KINDS: Final[dict[str, Any]] = {HEALTH: ServiceInstance, CATALOG: CatalogService}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows in the shape of `/v1/health/service` or `/v1/catalog/service`: which, and in which order (places in the usual
    one; none: that)."""

    shape: str
    passing: bool = False
    tags: tuple[str, ...] = ()
    meta: tuple[tuple[str, str], ...] = ()
    filter: str = ""
    order: tuple[int, ...] = ()

    @property
    def chosen(self) -> bool:
        """Whether clients' words are in it: there may be very many such."""
        return bool(self.tags or self.meta or self.filter or self.order)

    def has(self, instance: ServiceInstance) -> bool:
        """Is this instance wanted, but for the filter?"""
        return (
            (not self.passing or instance.status == PASSING)
            and has_tags(self.tags, instance.service.tags)
            and all(instance.node.meta.get(key) == value for key, value in self.meta)
        )


def wanted_of(query: Query, shape: str) -> Wanted:
    """What the parameters ask for. HttpError 400 when the filter is wrong, or a flag is none."""
    text = query.get("filter")
    if text.strip():
        _filter(text, shape)
    return Wanted(
        shape, query.truth("passing"), query.all("tag"), tuple(sorted(query.node_meta().items())), text.strip()
    )


def has_tags(wanted: Sequence[str], tags: Sequence[str]) -> bool:
    """Are all wanted tags there? They compare without case, as in Consul."""
    if not wanted:
        return True
    have = {tag.lower() for tag in tags}
    return all(tag.lower() in have for tag in wanted)


def rows_json(instances: Sequence[ServiceInstance], wanted: Wanted) -> bytes:
    """The rows, of a wish without a filter."""
    return codec.to_json(_rows(instances, wanted))


async def filtered_json(instances: Sequence[ServiceInstance], wanted: Wanted) -> bytes:
    """The rows, of any wish; a filter that takes long gives others their turn."""
    return codec.to_json(await kept(_rows(instances, wanted), _filter(wanted.filter, wanted.shape)))


def _rows(instances: Sequence[ServiceInstance], wanted: Wanted) -> Sequence[Any]:
    ordered = [instances[place] for place in wanted.order] if wanted.order else instances
    narrow = wanted.passing or wanted.tags or wanted.meta
    found = list(filter(wanted.has, ordered)) if narrow else ordered
    return found if wanted.shape == HEALTH else [catalog_service(instance) for instance in found]


def _filter(text: str, shape: str) -> Callable[[Any], bool]:
    try:
        return compile_filter(text, _KINDS[shape])
    except FilterError as error:
        raise bad_request(f"Failed to parse the filter expression: {error}") from None
