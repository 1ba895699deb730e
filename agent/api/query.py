"""The query string and the token of a request, checked. Pure. Called by `request` for every request.

As in Consul: a parameter without a value is none, but for flags, which count by being there; of one that is given twice the
first counts. What is not what its name asks for is refused with 400, and so is what would have to be guessed in a write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from multidict import MultiMapping

from chowk.agent.api.errors import bad_request
from chowk.agent.config.model import HttpConfig
from chowk.core.durations import parse_duration
from chowk.core.requests import CONSISTENT, DEFAULT, STALE, QueryOptions

WAIT_MAX_S: Final = 600.0
"""No `max_query_time` makes a blocking query wait longer: servers end it then."""
DEFAULT_HTTP: Final = HttpConfig()
INDEX_MAX: Final = 2**63 - 1
PARAMETERS_MAX: Final = 64
VALUE_CHARACTERS_MAX: Final = 8192

REPEATABLE: Final = frozenset({"tag", "node-meta"})
"""Parameters that may come several times on every route; a route may add its own."""

ONCE: Final = frozenset({"source", "destination", "by"})
"""Who may call whom is not guessed: given twice they are refused, as by Consul."""

UNSUPPORTED: Final = {
    "ns": "namespaces are not supported",
    "partition": "admin partitions are not supported",
    "peer": "cluster peering is not supported",
}
UNSUPPORTED_HEADERS: Final = {"X-Consul-Namespace": UNSUPPORTED["ns"], "X-Consul-Partition": UNSUPPORTED["partition"]}
DEFAULT_SCOPE: Final = frozenset({"", "default"})
"""What every one of these may be: that is where everything is."""

FALSE: Final = frozenset({"0", "f", "false"})
TRUE: Final = frozenset({"1", "t", "true"})


@dataclass(frozen=True)
class Query:
    """The parameters: first values by name, and all values of those that may repeat."""

    values: Mapping[str, str]
    repeated: Mapping[str, tuple[str, ...]]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: str = "") -> str:
        """The value of a parameter."""
        return self.values.get(name, default)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a parameter that may repeat."""
        return self.repeated.get(name, ())

    def flag(self, name: str) -> bool:
        """Is it there, with any value or none? In words that say no (`?x=0`, `?x=false`) it is not: Consul takes those, too,
        for a yes."""
        value = self.values.get(name)
        return value is not None and value.lower() not in FALSE

    def truth(self, name: str, *, empty: bool = True) -> bool:
        """`?x=1`, `?x=true` are true; absent, `?x=0`, `?x=false` are not; `?x` is `empty`; anything else is refused."""
        value = self.values.get(name)
        if value is None or value.lower() in FALSE:
            return False
        if not value:
            return empty
        if value.lower() not in TRUE:
            raise bad_request(f'Invalid value for ?{name}: "{value}" is not true or false')
        return True

    def number(self, name: str, text: str = "") -> int | None:
        """An unsigned whole number, None when absent. `text` is the message when it is not one."""
        value = self.values.get(name)
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) <= INDEX_MAX):
            raise bad_request(text or f'Invalid value for ?{name}: "{value}" is not a whole number')
        return int(value)

    def cas(self, text: str) -> int | None:
        """`?cas`, None when absent. One without a value is refused: it is no wish to write whatever is there."""
        if self.values.get("cas") == "":
            raise bad_request(text)
        return self.number("cas", text)

    def duration_s(self, name: str, text: str = "") -> float | None:
        """A Go duration in seconds, not negative, None when absent. `text` is the message when it is not one."""
        value = self.values.get(name)
        if not value:
            return None
        try:
            seconds = parse_duration(value)
        except ValueError:
            seconds = -1.0
        if seconds < 0:
            raise bad_request(text or f'Invalid value for ?{name}: "{value}" is not a duration like "10s"')
        return seconds

    def node_meta(self) -> dict[str, str]:
        """`node-meta=k:v`, each once or more: all must match."""
        return {pair.partition(":")[0]: pair.partition(":")[2] for pair in self.all("node-meta")}


def parse(items: MultiMapping[str], repeatable: frozenset[str] = frozenset()) -> Query:
    """Check the query string's shape: bounded, none of an unsupported feature, who may call whom said once."""
    if len(items) > PARAMETERS_MAX:
        raise bad_request(f"More than {PARAMETERS_MAX} query parameters")
    values: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    for name, value in items.items():
        if len(value) > VALUE_CHARACTERS_MAX:
            raise bad_request(f'Query parameter "{name[:64]}" is longer than {VALUE_CHARACTERS_MAX} characters')
        if name in UNSUPPORTED and value not in DEFAULT_SCOPE:
            raise bad_request(f'Invalid query parameter: "{name}" - {UNSUPPORTED[name]}')
        if name in REPEATABLE or name in repeatable:
            repeated[name] = (*repeated.get(name, ()), value)
        elif name in ONCE and name in values:
            raise bad_request(f'Query parameter "{name}" is given twice')
        values.setdefault(name, value)
    return Query(values, repeated)


def refuse_scope_headers(headers: MultiMapping[str]) -> None:
    """HttpError 400 when a header asks for a namespace or partition: an answer from another one would be a wrong one."""
    for name, text in UNSUPPORTED_HEADERS.items():
        if any(value not in DEFAULT_SCOPE for value in headers.getall(name, ())):
            raise bad_request(f'Invalid header: "{name}" - {text}')


def parse_token(query: Query, headers: Mapping[str, str]) -> str:
    """The ACL token: `?token`, `X-Consul-Token`, `Authorization: Bearer`, in that order. Checked once ACLs exist."""
    if query.get("token"):
        return query.get("token")
    if headers.get("X-Consul-Token"):
        return headers["X-Consul-Token"].strip()
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def wait_of(query: Query, http: HttpConfig) -> float:
    """How many seconds a blocking query may wait: `?wait`, else `default_query_time`; `max_query_time` at most."""
    wait_s = query.duration_s("wait", "Invalid wait time")
    return min(wait_s or http.default_query_time_s, http.max_query_time_s, WAIT_MAX_S)


def read_options(query: Query, token: str, http: HttpConfig = DEFAULT_HTTP) -> QueryOptions:
    """How to read: blocking, consistency, datacenter. HttpError 400 in Consul's words."""
    index = query.number("index", "Invalid index") or 0
    wait_s = wait_of(query, http)
    max_stale_s = query.duration_s("max_stale", f'Invalid max_stale value "{query.get("max_stale")}"')
    stale = query.flag("stale") or (max_stale_s or 0) > 0
    consistent, leader, cached = (query.flag(name) for name in ("consistent", "leader", "cached"))
    for first, second, clash in (
        ("stale", "consistent", stale and consistent),
        ("leader", "stale", leader and stale),
        ("leader", "consistent", leader and consistent),
        ("cached", "consistent", cached and consistent),
        ("cached", "leader", cached and leader),
    ):
        if clash:
            raise bad_request(f"Cannot specify ?{first} with ?{second}, conflicting semantics.")
    return QueryOptions(
        datacenter=query.get("dc"),
        min_index=index,
        max_wait_s=wait_s,
        consistency=STALE if stale else CONSISTENT if consistent else DEFAULT,
        token=token,
        near=query.get("near"),
    )
