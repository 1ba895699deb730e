"""Templates of prepared queries: `${…}` in their strings, and how it is filled in. Pure.

What may stand there is of HashiCorp's interpolation language what Consul's documentation shows: `name.full`, `name.prefix`,
`name.suffix`, `agent.segment` and `match(N)`, the N-th group of the regular expression (RE2: linear in the name's length);
`$${` is a plain `${`. Servers compile a query when it is written; whoever resolves names compiles it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec
import re2

from chowk.core.records.prepared_query import NAME_PREFIX_MATCH, PreparedQuery, QueryService

REGEXP_CHARS_MAX: Final = 512
REGEXP_BYTES_MAX: Final = 256 * 1024
_PARTS: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}?|[^$]+|\$")
_MATCH: Final = re.compile(r"match\(\s*(-?[0-9]{1,9})\s*\)")
_NAMES: Final = frozenset({"name.full", "name.prefix", "name.suffix", "agent.segment"})

Values = Callable[[str], str]
Part = str | tuple[str]
"""Text, or the one thing to be filled in."""


class Template:
    """A compiled query; one that is no template stays as it is. ValueError with Consul's words when it is wrong."""

    def __init__(self, query: PreparedQuery) -> None:
        self.query = query
        self._parts: dict[str, tuple[Part, ...]] = {}
        self._regexp: Any = None
        if not query.is_template:
            return
        if query.template.type != NAME_PREFIX_MATCH:
            raise ValueError(f"Bad Template.Type '{query.template.type}'")
        _map(query.service, self._compile)
        if query.template.regexp:
            self._regexp = _compile_regexp(query.template.regexp)

    def render(self, name: str, segment: str = "") -> PreparedQuery:
        """The query as it is for `name`, which begins with its own."""
        if not self.query.is_template:
            return self.query
        prefix = self.query.name
        values = {
            "name.full": name,
            "name.prefix": prefix,
            "name.suffix": name[len(prefix) :] if name[: len(prefix)].lower() == prefix.lower() else name,
            "agent.segment": segment,
        }
        groups = self._groups(name)

        def value(asked: str) -> str:
            if asked in values:
                return values[asked]
            number = int(asked)
            return groups[number] if 0 <= number < len(groups) else ""

        service = _map(
            self.query.service, lambda text, _path: "".join(_filled(part, value) for part in self._parts[text])
        )
        if self.query.template.remove_empty_tags and service.tags is not None:
            service = msgspec.structs.replace(service, tags=tuple(tag for tag in service.tags if tag))
        return msgspec.structs.replace(self.query, service=service)

    def _compile(self, text: str, path: str) -> str:
        if text not in self._parts:
            try:
                self._parts[text] = tuple(_parts_of(text))
            except ValueError as error:
                raise ValueError(f"Bad format '{text}' in Service{path}: {error}") from None
        return text

    def _groups(self, name: str) -> tuple[str, ...]:
        if self._regexp is None:
            return ()
        try:
            found = self._regexp.search(name)
        except (re2.error, UnicodeError):
            return ()
        return () if found is None else tuple(group or "" for group in (found.group(0), *found.groups()))


def _filled(part: Part, value: Values) -> str:
    return part if isinstance(part, str) else value(part[0])


def _parts_of(text: str) -> list[Part]:
    parts: list[Part] = []
    for found in _PARTS.finditer(text):
        piece, inner = found.group(0), found.group(1)
        if inner is None:
            parts.append("${" if piece == "$${" else piece)
            continue
        if not piece.endswith("}"):
            raise ValueError("an interpolation that is not closed")
        parts.append((_asked(inner.strip()),))
    return parts


def _asked(expression: str) -> str:
    call = _MATCH.fullmatch(expression)
    if call is not None:
        return call.group(1)
    if expression in _NAMES:
        return expression
    if expression.startswith("match("):
        raise ValueError("match takes one whole number")
    raise ValueError(f"unknown variable accessed: {expression}" if expression else "an interpolation of nothing")


def _map(service: QueryService, change: Callable[[str, str], str]) -> QueryService:
    """Every string of a query's service, with the path that it is told by in errors."""
    failover = service.failover
    datacenters, targets = failover.datacenters, failover.targets
    if datacenters is not None:
        datacenters = tuple(change(each, f".Failover.Datacenters[{at}]") for at, each in enumerate(datacenters))
    if targets is not None:
        targets = tuple(
            msgspec.structs.replace(each, datacenter=change(each.datacenter, f".Failover.Targets[{at}].Datacenter"))
            for at, each in enumerate(targets)
        )
    return msgspec.structs.replace(
        service,
        service=change(service.service, ".Service"),
        failover=msgspec.structs.replace(failover, datacenters=datacenters, targets=targets),
        ignore_check_ids=_map_list(service.ignore_check_ids, ".IgnoreCheckIDs", change),
        near=change(service.near, ".Near"),
        tags=_map_list(service.tags, ".Tags", change),
        node_meta=_map_values(service.node_meta, ".NodeMeta", change),
        service_meta=_map_values(service.service_meta, ".ServiceMeta", change),
    )


def _map_list(texts: tuple[str, ...] | None, path: str, change: Callable[[str, str], str]) -> tuple[str, ...] | None:
    return None if texts is None else tuple(change(text, f"{path}[{at}]") for at, text in enumerate(texts))


def _map_values(texts: dict[str, str] | None, path: str, change: Callable[[str, str], str]) -> dict[str, str] | None:
    return None if texts is None else {key: change(text, f"{path}[{key}]") for key, text in texts.items()}


@cache
def _options() -> Any:
    options = re2.Options()
    options.max_mem = REGEXP_BYTES_MAX
    options.log_errors = False
    return options


def _compile_regexp(pattern: str) -> Any:
    if len(pattern) > REGEXP_CHARS_MAX:
        raise ValueError(f"Bad Regexp: longer than {REGEXP_CHARS_MAX} characters")
    try:
        return re2.compile(pattern, _options())
    except (re2.error, UnicodeError) as error:
        text = error.args[0] if error.args else error
        reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise ValueError(f"Bad Regexp: {reason}") from None
