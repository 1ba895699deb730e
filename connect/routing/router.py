"""Which of an upstream's routes takes a request, and which of its splits. Compiled once for each snapshot, asked for each
request by the outbound HTTP listener; the chain's endpoint and the CLI may ask it too.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import accumulate
from typing import Final

import msgspec

from chowk.connect.http1.authority import is_authority
from chowk.connect.http1.cookie import is_cookie_name, set_cookie
from chowk.connect.http1.edits import CompiledEdits, compile_edits
from chowk.connect.http1.heads import RequestHead
from chowk.connect.http1.path import joined, offset_of, quoted, rule_key
from chowk.connect.http1.refusal import Refusal
from chowk.connect.routing.conditions import BadCondition, cookie_value, header_condition, path_test, query_condition
from chowk.connect.snapshot import HttpRoute, Split, StickyKey
from chowk.core.records.traffic import HttpMatch, HttpRedirect

_POINTS: Final = 1 << 64
_QUERY_SAFE: Final = bytes(code for code in range(0x21, 0x7F) if code != 0x23)
_NO_MATCH: Final = HttpMatch()


class Choice(msgspec.Struct, frozen=True):
    """Where a request goes. `path` is what the next server gets; `cookie` a Set-Cookie to send back ("": none)."""

    split: Split
    path: bytes
    request_edits: CompiledEdits
    response_edits: CompiledEdits
    cookie: bytes = b""


class _Way(msgspec.Struct, frozen=True):
    split: Split
    request_edits: CompiledEdits
    response_edits: CompiledEdits


class CompiledRoute:
    """One route. `matches` and `choose` are pure."""

    def __init__(self, route: HttpRoute) -> None:
        """BadCondition when its match cannot be compiled."""
        self.route = route
        match = route.match or _NO_MATCH
        self._match = match
        self._path = path_test(match, case_insensitive=match.case_insensitive)
        self._methods = frozenset(match.methods)
        self._conditions: tuple[Callable[[RequestHead], bool], ...] = (
            *map(header_condition, match.header),
            *map(query_condition, match.query_param),
        )
        self._ways = tuple(
            _Way(
                split,
                compile_edits((*split.request_headers, route.request_headers)),
                compile_edits((*split.response_headers, route.response_headers)),
            )
            for split in route.splits
        )
        self._bounds = list(accumulate(max(split.weight, 0) for split in route.splits))
        clusters = "|".join(split.cluster for split in route.splits)
        self._salt = blake2b(clusters.encode(errors="replace"), digest_size=32).digest()
        """The same for all routes with these splits, so that a caller meets one version whatever it asks for."""
        sticky = route.sticky or StickyKey()
        self._sticky_header = sticky.header.lower().encode(errors="replace")
        self._sticky_cookie = sticky.cookie.encode(errors="replace")
        _check_targets(route)
        self.response_edits = compile_edits((route.response_headers,))
        """For answers of this proxy's own (redirects, faults, fallbacks)."""

    def matches(self, request: RequestHead) -> bool:
        """Whether all conditions of the route hold."""
        if self._path is not None and not self._path(request.key):
            return False
        if self._methods and request.method not in self._methods:
            return False
        return all(condition(request) for condition in self._conditions)

    def choose(self, request: RequestHead, rng: random.Random) -> Choice | None:
        """A split by weight, or the one this caller had before; None when no split has any weight. Refusal as `joined`."""
        total = self._bounds[-1] if self._bounds else 0
        if not total:
            return None
        cookie = b""
        if len(self._ways) == 1:
            way = self._ways[0]
        else:
            point, cookie = self._point(request, rng)
            way = self._ways[bisect_right(self._bounds, point * total // _POINTS)]
        return Choice(way.split, self._rewritten(request), way.request_edits, way.response_edits, cookie)

    def _point(self, request: RequestHead, rng: random.Random) -> tuple[int, bytes]:
        """A number under `_POINTS` that is always the same for a sticky caller, and the cookie that makes one sticky.

        Splits keep their order, so when a canary's weight grows those who had it keep it (and no one else moves).
        """
        if self._sticky_header:
            value = request.index.get(self._sticky_header)
            if value:
                return self._hash(value), b""
        if not self._sticky_cookie or self.route.sticky is None:
            return rng.getrandbits(64), b""
        value = cookie_value(request, self._sticky_cookie)
        if value:
            return self._hash(value), b""
        value = b"%032x" % rng.getrandbits(128)
        return self._hash(value), set_cookie(
            self._sticky_cookie, value, self.route.sticky.ttl_s, b"/", b"; SameSite=Lax"
        )

    def _hash(self, value: bytes) -> int:
        return int.from_bytes(blake2b(value, digest_size=8, key=self._salt).digest())

    def _rewritten(self, request: RequestHead) -> bytes:
        rewrite = self.route.prefix_rewrite
        return swapped(request, self._match, rewrite) if rewrite else request.path

    def location(self, request: RequestHead, redirect: HttpRedirect) -> bytes:
        """The Location of a redirect (RFC 9110 section 10.2.2): relative where scheme and host stay. Refusal as `joined`."""
        path, query = request.path, request.query
        if redirect.path:
            text, mark, own_query = redirect.path.partition("?")
            path, query = joined(text), quoted(own_query, _QUERY_SAFE) if mark else query
        elif redirect.prefix_rewrite:
            path = swapped(request, self._match, redirect.prefix_rewrite)
        location = path if query is None else path + b"?" + query
        if not redirect.scheme and not redirect.host:
            return location
        before = b"https" if request.get(b"x-forwarded-proto").lower() == b"https" else b"http"
        scheme = redirect.scheme.lower().encode() or before
        host = redirect.host.encode() or _without_port_of(request.authority, before, scheme)
        return b"%b://%b%b" % (scheme, host, location) if host else location


class Router:
    """The routes of one upstream, in order. `broken` names those that could not be compiled and never match."""

    def __init__(self, routes: Iterable[HttpRoute]) -> None:
        compiled: list[CompiledRoute] = []
        broken: list[str] = []
        for route in routes:
            try:
                compiled.append(CompiledRoute(route))
            except BadCondition:
                broken.append(route.name)
        self.routes = tuple(compiled)
        self.broken = tuple(broken)

    def route(self, request: RequestHead) -> CompiledRoute | None:
        """The first route that matches."""
        for route in self.routes:
            if route.matches(request):
                return route
        return None


def swapped(request: RequestHead, match: HttpMatch, replacement: str) -> bytes:
    """The path with what `match` says of it replaced: a prefix, or all of it. Said nothing, it is put before it."""
    if not request.path.startswith(b"/"):
        return request.path
    if match.path_exact or match.path_regex:
        return joined(replacement)
    prefix = rule_key(match.path_prefix, is_prefix=True) or b""
    return joined(replacement, request.path[offset_of(request.path, len(prefix)) :])


def _check_targets(route: HttpRoute) -> None:
    """What goes into requests and answers as it is must not be able to say more than it should."""
    redirect = route.redirect or HttpRedirect()
    for path in (route.prefix_rewrite, redirect.path.partition("?")[0], redirect.prefix_rewrite):
        try:
            if path:
                joined(path)
        except Refusal as refusal:
            raise BadCondition("a rewrite or redirect to what is no path") from refusal
    if redirect.host and not is_authority(redirect.host.encode(errors="replace")):
        raise BadCondition("a redirect to what is no host")
    if redirect.scheme.lower() not in ("", "http", "https"):
        raise BadCondition("a redirect to a scheme other than http and https")
    if route.sticky is not None and not is_cookie_name(route.sticky.cookie.encode(errors="replace") or b"cookie"):
        raise BadCondition("a sticky cookie whose name is no token")


def _without_port_of(authority: bytes, before: bytes, scheme: bytes) -> bytes:
    """The request's own host; its port goes when it is the usual one of a scheme that the redirect changes."""
    if before == scheme:
        return authority
    return authority.removesuffix(b":80" if before == b"http" else b":443")
