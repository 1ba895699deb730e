"""Config entries as people write them, to the records the servers replicate.

Called by `build` (`config_entries { bootstrap [] }`), by `agent.api` with the bodies of `PUT /v1/config`, and by the CLI.
Unknown keys are refused everywhere, as in Consul: an intention with a misspelt key must never mean less than it seems to.
"""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import Any, cast

from chowk.agent.config.decode import Decoded, Reading, decode
from chowk.agent.config.definitions import build_expose
from chowk.agent.config.entry_records import build, note
from chowk.agent.config.keys_entry import CONSUL_KINDS, ENTRIES
from chowk.agent.config.problems import Problems
from chowk.agent.config.schema import plain_name
from chowk.agent.config.service_rules import meta_problems
from chowk.agent.config.tree import Node, ObjectNode, Scalar, from_plain
from chowk.connect.entries import faults, times
from chowk.connect.entries.check import COMPLAINTS_MAX, complaints
from chowk.connect.intentions.validation import METHODS, regex_fault
from chowk.core.definitions import Position
from chowk.core.records.base import json_name
from chowk.core.records.config_entry import (
    KINDS,
    AnyConfigEntry,
    HttpPermission,
    Permission,
    ProxyDefaults,
    ServiceDefaults,
    ServiceIntentions,
    SourceIntention,
)
from chowk.core.records.resolver import LocalityPriority
from chowk.core.records.router import ServiceRouter
from chowk.core.records.service import MeshGateway
from chowk.core.records.traffic import AccessLogs, Concurrency, HeaderMatch, HttpMatch, RateLimits

SOURCES_MAX = 10_000


def decode_config_entry(
    source: Node | dict[str, Any],
    problems: Problems | None = None,
    *,
    now: float | None = None,
    force: bool = False,
) -> AnyConfigEntry | None:
    """The entry written in `source`: a tree of a file, or the plain body of a request.

    Without `problems` all that is wrong is raised as one ConfigError and the result is an entry; with it, problems are
    noted there, and None is returned where what was written is no entry. Times are judged when `now` (Unix seconds) is
    given. `force` lifts the guard on the percentages of faults, by writing it up.
    """
    noted = problems if problems is not None else Problems()
    request = isinstance(source, dict)
    tree = from_plain(source) if isinstance(source, dict) else source
    entry = None
    if isinstance(tree, ObjectNode):
        kind = _kind_of(tree, noted)
        if kind:
            entry = _entry(kind, tree, Reading(noted, request=request, strict=True), now, force)
    else:
        noted.add(getattr(tree, "position", Position()), "config entry: expected an object")
    if problems is None:
        noted.raise_if_any()
    return entry


def is_config_entry(tree: ObjectNode) -> bool:
    """Whether a file holds one config entry, as for `chowk config write`: no other configuration has a Kind at its top."""
    return any(plain_name(entry.key) == "kind" for entry in tree.entries)


def _entry(kind: str, tree: ObjectNode, reading: Reading, now: float | None, force: bool) -> AnyConfigEntry | None:
    """Types first, then the rules of the kind: these would only repeat what is wrong with those."""
    problems, before = reading.problems, len(reading.problems)
    decoded = decode(tree, ENTRIES[kind], reading, kind)
    maker = _MAKERS.get(kind)
    if len(problems) > before and kind != ServiceIntentions.kind:
        return None
    if maker is None:
        _name(decoded, problems, {"mesh": "mesh"}.get(kind, ""))
        if len(problems) > before:
            return None
        entry: AnyConfigEntry = cast(AnyConfigEntry, build(decoded, KINDS[kind]))
    else:
        entry = maker(decoded, problems)
    if len(problems) > before:
        return entry
    if force:
        entry = faults.forced(entry)
    for complaint in islice(complaints(entry), COMPLAINTS_MAX):
        note(complaint, decoded, problems)
    for complaint in times.check_times(entry, now) if now is not None else ():
        note(complaint, decoded, problems)
    if isinstance(entry, ServiceRouter):
        _warn_unreachable(entry, decoded, problems)
    return entry


def _warn_unreachable(entry: ServiceRouter, decoded: Decoded, problems: Problems) -> None:
    """A route behind one that takes everything is legal, as in Consul, and surely not what was meant."""
    for number, route in enumerate(entry.routes[:-1]):
        match = (route.match.http if route.match is not None else None) or HttpMatch()
        if match in (HttpMatch(), HttpMatch(path_prefix="/")):
            place = decoded.get("routes")[number + 1].position
            text = f"is never reached: routes[{number}] takes every request, and the first that matches decides"
            problems.warn(place, f"{decoded.path}.routes[{number + 1}] {text}")
            return


def _kind_of(tree: ObjectNode, problems: Problems) -> str:
    kinds = [entry for entry in tree.entries if plain_name(entry.key) == "kind"]
    if not kinds:
        problems.add(tree.position, f"Kind is missing: say one of {', '.join(ENTRIES)}")
        return ""
    value = kinds[0].value
    kind = value.value if isinstance(value, Scalar) and isinstance(value.value, str) else ""
    if kind in ENTRIES:
        return kind
    if kind in CONSUL_KINDS:
        text = f'config entries of kind "{kind}" are not supported yet'
    else:
        near = get_close_matches(kind, CONSUL_KINDS, n=1)
        text = f'invalid config entry kind "{kind}"' + (f'; did you mean "{near[0]}"?' if near else "")
    problems.add(value.position, text)
    return ""


def _name(decoded: Decoded, problems: Problems, default: str = "") -> None:
    if default and not decoded.get("name"):
        decoded.put("name", default, decoded.position)
    if not decoded.get("name", "").strip():
        problems.add(decoded.at("name"), f"{decoded.path}: Name is missing")
    meta_problems(decoded.get("meta", {}), decoded.at("meta"), problems, f"{decoded.path}.Meta")


def _common(decoded: Decoded, problems: Problems, default: str = "") -> dict[str, Any]:
    _name(decoded, problems, default)
    return decoded.pick(name="name", meta="meta")


def _intentions(decoded: Decoded, problems: Problems) -> ServiceIntentions:
    fields = _common(decoded, problems)
    name = fields.get("name", "")
    if "*" in name and name != "*":
        problems.add(decoded.at("name"), f'{decoded.path}: "{name}": a wildcard stands alone: *')
    sources = decoded.get("sources", ())
    if not sources:
        problems.add(decoded.at("sources"), f"{decoded.path}: at least one source is required")
    if len(sources) > SOURCES_MAX:
        problems.add(decoded.at("sources"), f"{decoded.path}: at most {SOURCES_MAX} sources")
        sources = ()
    seen: dict[str, Position] = {}
    for source in sources:
        source_name = source.get("name", "")
        if source_name in seen:
            first = f", first at {seen[source_name]}" if source.position.file else ""
            problems.add(source.position, f'{source.path}: the source "{source_name}" is given twice{first}')
        seen.setdefault(source_name, source.position)
    return ServiceIntentions(**fields, sources=tuple(_source(source, problems) for source in sources))


def _source(decoded: Decoded, problems: Problems) -> SourceIntention:
    path, name = decoded.path, decoded.get("name", "")
    action, rules = decoded.get("action", ""), decoded.get("permissions", ())
    if not name.strip():
        problems.add(decoded.at("name"), f"{path}: Name is missing")
    elif "*" in name and name != "*":
        problems.add(decoded.at("name"), f'{path}: "{name}": a wildcard stands alone: *')
    if bool(action) == bool(rules):
        problems.add(
            decoded.position,
            f"{path}: give Action (allow or deny), or Permissions, {'not both' if action else 'one of them'}",
        )
    names = ("description", "legacy_id", "legacy_meta", "legacy_create_time", "legacy_update_time")
    return SourceIntention(
        name=name,
        action=action,
        permissions=tuple(_permission(rule, problems) for rule in rules),
        type=decoded.get("type") or "consul",
        **decoded.pick(**{field: field for field in names}),
    )


def _permission(decoded: Decoded, problems: Problems) -> Permission:
    path = decoded.path
    if not decoded.get("action"):
        problems.add(decoded.at("action"), f"{path}: Action is missing: allow or deny")
    if decoded.get("jwt"):
        problems.add(decoded.at("jwt"), f"{path}.JWT: JWT providers are not supported yet")
    http: Decoded | None = decoded.get("http")
    if http is None:
        problems.add(decoded.position, f"{path}: HTTP is missing: say which requests it is about")
        return Permission(action=decoded.get("action", ""), http=HttpPermission())
    paths = [key for key in ("path_exact", "path_prefix", "path_regex") if http.get(key)]
    if len(paths) > 1:
        problems.add(http.at(paths[1]), f"{http.path}: only one of PathExact, PathPrefix and PathRegex may be given")
    for key in ("path_exact", "path_prefix"):
        if http.get(key) and not http.get(key).startswith("/"):
            problems.add(http.at(key), f'{http.path}.{key}: "{http.get(key)[:40]}" does not start with /')
    _pattern_problems(http, "path_regex", problems)
    methods = http.get("methods", ())
    for method in methods:
        if method not in METHODS:
            problems.add(http.at("methods"), f'{http.path}.Methods: "{method[:40]}" is none of {", ".join(METHODS)}')
    if len(set(methods)) != len(methods):
        problems.add(http.at("methods"), f"{http.path}.Methods: a method is given twice")
    headers = tuple(_header(header, problems) for header in http.get("header", ()))
    if not paths and not methods and not headers:
        problems.add(http.position, f"{http.path}: at least one condition is required (path, methods or header)")
    fields = http.pick(path_exact="path_exact", path_prefix="path_prefix", path_regex="path_regex", methods="methods")
    return Permission(action=decoded.get("action", ""), http=HttpPermission(**fields, header=headers))


def _header(decoded: Decoded, problems: Problems) -> HeaderMatch:
    conditions = [key for key in ("present", "exact", "prefix", "suffix", "contains", "regex") if decoded.get(key)]
    if not decoded.get("name"):
        problems.add(decoded.position, f"{decoded.path}: Name is missing")
    if len(conditions) != 1:
        text = "exactly one of Present, Exact, Prefix, Suffix, Contains and Regex must be given"
        problems.add(decoded.position, f"{decoded.path}: {text}")
    _pattern_problems(decoded, "regex", problems)
    names = ("present", "exact", "prefix", "suffix", "contains", "regex", "invert", "ignore_case")
    return HeaderMatch(name=decoded.get("name", ""), **decoded.pick(**{name: name for name in names}))


def _pattern_problems(decoded: Decoded, key: str, problems: Problems) -> None:
    pattern = decoded.get(key, "")
    if pattern and (fault := regex_fault(pattern)):
        problems.add(decoded.at(key), f"{decoded.path}.{key}: {fault}")


def _service_defaults(decoded: Decoded, problems: Problems) -> ServiceDefaults:
    fields = _common(decoded, problems)
    upstreams: Decoded | None = decoded.get("upstream_config")
    if upstreams is not None:
        for override in upstreams.get("overrides", ()):
            if not override.get("name"):
                problems.add(override.position, f"{override.path}: Name is missing")
    names = (
        "protocol", "balance_inbound_connections", "external_sni", "max_inbound_connections",
        "local_connect_timeout_ms", "local_request_timeout_ms", "intention_mode",
    )  # fmt: skip
    return ServiceDefaults(
        **fields,
        **decoded.pick(**{name: name for name in names}),
        mesh_gateway=_mesh_gateway(decoded),
        expose=build_expose(decoded.get("expose")),
        upstream_config={} if upstreams is None else _consul_names(upstreams),
        **_parts(decoded, rate_limits=RateLimits, concurrency=Concurrency),
    )


def _proxy_defaults(decoded: Decoded, problems: Problems) -> ProxyDefaults:
    fields = _common(decoded, problems, "global")
    return ProxyDefaults(
        **fields,
        **decoded.pick(mode="mode", config="config"),
        mesh_gateway=_mesh_gateway(decoded),
        expose=build_expose(decoded.get("expose")),
        **_parts(decoded, access_logs=AccessLogs, prioritize_by_locality=LocalityPriority),
    )


def _parts(decoded: Decoded, **kinds: type[Any]) -> dict[str, Any]:
    """The records of the blocks that were written; what was not is left out of the entry's JSON too."""
    return {name: build(decoded.get(name), kind) for name, kind in kinds.items() if name in decoded}


def _consul_names(decoded: Decoded) -> dict[str, Any]:
    """A block under Consul's JSON names, durations (the only floats of these tables) in nanoseconds, as its API has it."""

    def plain(value: Any) -> Any:
        if isinstance(value, Decoded):
            return _consul_names(value)
        if isinstance(value, list):
            return [plain(item) for item in value]
        return round(value * 1e9) if isinstance(value, float) else value

    return {json_name(name): plain(value) for name, value in decoded.values.items()}


def _mesh_gateway(decoded: Decoded) -> MeshGateway:
    block: Decoded | None = decoded.get("mesh_gateway")
    return MeshGateway(mode=block.get("mode", "")) if block is not None else MeshGateway()


# Of kinds whose records are not simply their blocks.
_MAKERS: dict[str, Any] = {
    "service-intentions": _intentions,
    "service-defaults": _service_defaults,
    "proxy-defaults": _proxy_defaults,
}
