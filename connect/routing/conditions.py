"""Conditions on requests, compiled from configuration once: path, headers, query, methods. Used by `router` and by the L7
decision of `connect.intentions`, so that a route and an intention with the same words mean the same requests.

Paths are compared in the decoded, normalised form (`RequestHead.key`). Regular expressions run in linear time (RE2) over
bytes, must match the whole value, and take every byte for a character: so no byte sequence escapes `.*`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

import re2

from chowk.connect.http1.heads import RequestHead
from chowk.connect.http1.path import rule_key
from chowk.core.records.traffic import HeaderMatch, QueryMatch

REGEX_BYTES_MAX: Final = 1 << 20
"""Memory of one compiled expression; one that needs more does not compile."""
QUERY_PARAMETERS_MAX: Final = 256
"""Parameters of a query string that are looked at; conditions on later ones do not hold."""

Test = Callable[[bytes], bool]


class PathRule(Protocol):
    """What route matches, L7 permissions and rates say of a path."""

    @property
    def path_exact(self) -> str: ...
    @property
    def path_prefix(self) -> str: ...
    @property
    def path_regex(self) -> str: ...


class BadCondition(ValueError):
    """A condition that cannot be compiled: it got past validation. Who asks decides what is safe then."""


def path_test(rule: PathRule, *, case_insensitive: bool = False) -> Test | None:
    """A test of `RequestHead.key`, None when the rule says nothing of the path. Raises BadCondition.

    `case_insensitive` concerns ASCII letters, and not regular expressions (as in Envoy).
    """
    if rule.path_regex:
        return whole_match(rule.path_regex)
    text = rule.path_exact or rule.path_prefix
    if not text:
        return None
    wanted = rule_key(text, is_prefix=not rule.path_exact)
    if wanted is None:
        return _never
    if rule.path_exact:
        return _equals(wanted, case_insensitive)
    return _begins(wanted, case_insensitive)


def value_test(condition: HeaderMatch) -> Test | None:
    """A test of one value of the header, before `invert`; None when only its presence counts. Raises BadCondition."""
    fold = condition.ignore_case
    if condition.regex:
        return whole_match(condition.regex)
    for text, make in (
        (condition.exact, _equals),
        (condition.prefix, _begins),
        (condition.suffix, _ends),
        (condition.contains, _contains),
    ):
        if text:
            return make(text.encode(errors="replace"), fold)
    return None


def header_condition(condition: HeaderMatch) -> Callable[[RequestHead], bool]:
    """Whether a request meets the condition. Values of a header that comes several times are taken as one, joined.

    Without the header only `present` with `invert` holds: no other condition does, inverted or not (as in Envoy).
    """
    name = condition.name.lower().encode(errors="replace")
    test, invert = value_test(condition), condition.invert

    def holds(request: RequestHead) -> bool:
        value = header_value(request, name)
        if test is None:
            return (value is not None) != invert
        return value is not None and test(value) != invert

    return holds


def header_value(request: RequestHead, name: bytes) -> bytes | None:
    """The value of a header by its lower-case name. `:authority`, `:method` and `:path` are those of HTTP/2, as in Envoy."""
    if name[:1] != b":":
        return request.index.get(name)
    match name:
        case b":authority":
            return request.authority
        case b":method":
            return request.method.encode()
        case b":path":
            return request.path if request.query is None else request.path + b"?" + request.query
    return None


def query_condition(condition: QueryMatch) -> Callable[[RequestHead], bool]:
    """Whether the first parameter of that name meets the condition."""
    name = condition.name.encode(errors="replace")
    test: Test | None = None
    if condition.regex:
        test = whole_match(condition.regex)
    elif condition.exact:
        test = _equals(condition.exact.encode(errors="replace"), False)

    def holds(request: RequestHead) -> bool:
        value = query_value(request.query, name)
        return value is not None and (test is None or test(value))

    return holds


def query_value(query: bytes | None, name: bytes) -> bytes | None:
    """The first value of a parameter, decoded as forms are (`+` is a space); None when there is no such parameter."""
    if not query:
        return None
    for part in query.split(b"&", QUERY_PARAMETERS_MAX)[:QUERY_PARAMETERS_MAX]:
        key, _, value = part.partition(b"=")
        if _unquoted(key) == name:
            return _unquoted(value)
    return None


def cookie_value(request: RequestHead, name: bytes) -> bytes | None:
    """The first value of a cookie (RFC 6265 section 5.4), None when the request has none of that name."""
    cookies = request.index.get(b"cookie")
    if cookies is None:
        return None
    for part in cookies.split(b";"):
        key, equals, value = part.strip(b" \t").partition(b"=")
        if equals and key == name:
            return value
    return None


def whole_match(pattern: str) -> Test:
    """A test that the whole value matches. Raises BadCondition."""
    try:
        compiled = re2.compile(pattern.encode(), _options())
    except (re2.error, UnicodeError) as error:
        raise BadCondition("not a regular expression") from error
    return lambda value: compiled.fullmatch(value) is not None


@cache
def _options() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = REGEX_BYTES_MAX
    options.log_errors = False
    return options


def _unquoted(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text


def _never(_value: bytes) -> bool:
    return False


def _equals(wanted: bytes, fold: bool) -> Test:
    lower = wanted.lower()
    return (lambda value: value.lower() == lower) if fold else wanted.__eq__


def _begins(wanted: bytes, fold: bool) -> Test:
    lower = wanted.lower()
    return (lambda value: value.lower().startswith(lower)) if fold else (lambda value: value.startswith(wanted))


def _ends(wanted: bytes, fold: bool) -> Test:
    lower = wanted.lower()
    return (lambda value: value.lower().endswith(lower)) if fold else (lambda value: value.endswith(wanted))


def _contains(wanted: bytes, fold: bool) -> Test:
    lower = wanted.lower()
    return (lambda value: lower in value.lower()) if fold else (lambda value: wanted in value)
