"""May this source make this HTTP request? L7 permissions, judged by the destination's proxy for each request. Pure.

Paths and conditions are those of `connect.routing`, so routes and permissions read a request alike. Where a request can be
read in more than one way, a `deny` takes any reading and an `allow` needs all of them: headers that come several times,
headers that are missing where a condition is inverted, underscores in names that applications take for hyphens, and
parameters of path segments (`/admin;x`), which some servers drop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from chowk.connect.http1.heads import RequestHead
from chowk.connect.http1.path import without_parameters
from chowk.connect.intentions.decision import Decision, decide
from chowk.connect.routing.conditions import BadCondition, header_value, path_test, value_test
from chowk.core.records.config_entry import ALLOW, HttpPermission, Permission
from chowk.core.records.intention import Intention
from chowk.core.records.traffic import HeaderMatch

_Test = Callable[[RequestHead], bool]
_CONNECT: Final = "CONNECT"


class _Rule(msgspec.Struct, frozen=True):
    tests: tuple[_Test, ...]
    methods: frozenset[str]
    tunnels: bool
    """It may let CONNECT through: it names the method and no path."""
    decision: Decision


class RequestPolicy:
    """The decision about requests from one source to one destination, compiled. One for each source a snapshot."""

    def __init__(self, intentions: Iterable[Intention], source: str, destination: str, default_allow: bool) -> None:
        """A permission that cannot be compiled denies all requests of the intention that holds it."""
        self._otherwise = decide(intentions, source, destination, default_allow)
        self._rules: tuple[_Rule, ...] = ()
        self._tunnel_denied: Decision | None = None
        first = self._otherwise.intention
        if first is None or not first.permissions:
            return
        rule = f"{first.source_name} => {first.destination_name}"
        word = "allows" if default_allow else "denies"
        text = f"No permission of the L7 intention {rule} matches the request, and the default policy {word} it"
        self._otherwise = Decision(allowed=default_allow, intention=first, reason=text)
        text = (
            f"A CONNECT tunnel hides its requests: only a permission of {rule} that names CONNECT and no path allows it"
        )
        self._tunnel_denied = Decision(allowed=False, intention=first, reason=text)
        try:
            self._rules = tuple(
                _compiled(each, number, first, rule) for number, each in enumerate(first.permissions, 1)
            )
        except BadCondition as fault:
            text = f"The L7 intention {rule} has a permission that cannot be read ({fault}), so it denies every request"
            self._otherwise = self._tunnel_denied = Decision(allowed=False, intention=first, reason=text)

    @property
    def looks_at_requests(self) -> bool:
        """False when every request gets the same decision."""
        return self._tunnel_denied is not None

    def decide(self, request: RequestHead) -> Decision:
        """The first permission that matches decides, else the default."""
        tunnel = request.method == _CONNECT
        for rule in self._rules:
            if tunnel and rule.decision.allowed and not rule.tunnels:
                continue
            if (not rule.methods or request.method in rule.methods) and all(test(request) for test in rule.tests):
                return rule.decision
        return self._tunnel_denied if tunnel and self._tunnel_denied is not None else self._otherwise


def decide_request(
    intentions: Iterable[Intention], source: str, destination: str, default_allow: bool, request: RequestHead
) -> Decision:
    """The decision about one request; who has many to ask about keeps a `RequestPolicy`."""
    return RequestPolicy(intentions, source, destination, default_allow).decide(request)


def _compiled(permission: Permission, number: int, intention: Intention, rule: str) -> _Rule:
    allows, http = permission.action == ALLOW, permission.http
    tests = [_header(condition, allows) for condition in http.header]
    path = path_test(http)
    if path is not None:
        tests.insert(0, _path(path, allows))
    text = f"Matched permission {number} of the L7 intention {rule} ({permission.action}: {_shown(http)})"
    return _Rule(
        tuple(tests),
        frozenset(http.methods),
        _CONNECT in http.methods and path is None,
        Decision(allowed=allows, intention=intention, reason=text),
    )


def _path(test: Callable[[bytes], bool], allows: bool) -> _Test:
    """The condition on the path as it is, and where it has parameters also as servers read it that drop them."""
    quantifier = all if allows else any

    def holds(request: RequestHead) -> bool:
        key = request.key
        if b";" not in key:
            return test(key)
        return quantifier(map(test, (key, without_parameters(key))))

    return holds


def _header(condition: HeaderMatch, allows: bool) -> _Test:
    """The condition on every reading of the header: all must meet it to allow, any one to deny."""
    name = condition.name.lower().encode(errors="replace")
    test, invert = value_test(condition), condition.invert
    quantifier = all if allows else any

    def meets(value: bytes | None) -> bool:
        if test is None:
            return (value is not None) != invert
        if value is None:
            return invert and not allows
        return test(value) != invert

    return lambda request: quantifier(map(meets, readings(request, name)))


def readings(request: RequestHead, name: bytes) -> list[bytes | None]:
    """The values that an application may see for the header of this lower-case name; None: it may see none.

    Of a header that comes several times it may see each line, or all joined. `x_role` may be `x-role` to it. What
    `Connection` names does not reach it.
    """
    index, value = request.index, header_value(request, name)
    if len(index) == len(request.headers) and b"_" not in b"".join((name, *index)):
        return [value, None] if name in request.connection else [value]
    hyphened = name.replace(b"_", b"-")
    lines = [each for key, each in request.headers if key.lower().replace(b"_", b"-") == hyphened]
    return [value, *lines, None] if name in request.connection else [value, *lines]


def _shown(http: HttpPermission) -> str:
    """The conditions in words."""
    parts = [
        f"{word} {text!r}"
        for word, text in (
            ("path", http.path_exact),
            ("path prefix", http.path_prefix),
            ("path regex", http.path_regex),
        )
        if text
    ]
    if http.methods:
        parts.append("methods " + ", ".join(http.methods))
    if http.header:
        parts.append("headers " + ", ".join(condition.name for condition in http.header))
    return "; ".join(parts) or "every request"
