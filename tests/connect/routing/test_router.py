"""Routes: the first that matches, the split by weight or by who asks, and what becomes of the path."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from chowk.connect.http1.heads import RequestHead, parse_request
from chowk.connect.http1.refusal import Refusal
from chowk.connect.routing.router import CompiledRoute, Router
from chowk.connect.snapshot import HttpRoute, Split, StickyKey
from chowk.core.records.traffic import HeaderEdits, HeaderMatch, HttpMatch, HttpRedirect, QueryMatch


def request(*headers: str, target: str = "/", method: str = "GET", host: str = "web:8080") -> RequestHead:
    return parse_request("\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode())


def route(name: str = "r", **parts: object) -> HttpRoute:
    return HttpRoute(name=name, **{"splits": (Split(cluster=name),), **parts})  # type: ignore[arg-type]


def taken(routes: list[HttpRoute], each: RequestHead) -> str | None:
    found = Router(routes).route(each)
    return None if found is None else found.route.name


def chosen(compiled: CompiledRoute, each: RequestHead, rng: random.Random) -> str:
    choice = compiled.choose(each, rng)
    assert choice is not None
    return choice.split.cluster


def test_the_first_route_that_matches_takes_the_request() -> None:
    routes = [
        route("admin", match=HttpMatch(path_prefix="/admin", methods=("POST", "PUT"))),
        route("premium", match=HttpMatch(header=(HeaderMatch(name="x-tier", exact="premium"),))),
        route("debug", match=HttpMatch(path_prefix="/", query_param=(QueryMatch(name="debug", present=True),))),
        route("rest"),
    ]
    assert taken(routes, request(target="/admin/x", method="PUT")) == "admin"
    assert taken(routes, request(target="/admin/x")) == "rest"
    assert taken(routes, request("X-Tier: premium", target="/admin/x?debug")) == "premium"
    assert taken(routes, request(target="/x?debug")) == "debug"
    assert taken(routes[:3], request(target="/x")) is None


def test_all_conditions_of_a_route_must_hold() -> None:
    match = HttpMatch(
        path_prefix="/a",
        methods=("GET",),
        header=(HeaderMatch(name="x", present=True), HeaderMatch(name="y", exact="1")),
        query_param=(QueryMatch(name="q", exact="1"),),
    )
    routes = [route("r", match=match)]
    assert taken(routes, request("X:", "Y: 1", target="/a?q=1")) == "r"
    for each in (
        request("X:", "Y: 1", target="/b?q=1"),
        request("X:", "Y: 1", target="/a?q=1", method="POST"),
        request("Y: 1", target="/a?q=1"),
        request("X:", "Y: 2", target="/a?q=1"),
        request("X:", "Y: 1", target="/a?q=2"),
    ):
        assert taken(routes, each) is None


def test_a_route_that_cannot_be_compiled_is_named_and_takes_nothing() -> None:
    broken = [
        route("regex", match=HttpMatch(path_regex="(")),
        route("host", redirect=HttpRedirect(host="evil\r\nSet-Cookie: a")),
        route("scheme", redirect=HttpRedirect(scheme="javascript")),
        route("rewrite", prefix_rewrite="no-slash"),
        route("cookie", sticky=StickyKey(cookie="a=b; Domain=x")),
    ]
    router = Router([*broken, route("rest")])
    assert router.broken == ("regex", "host", "scheme", "rewrite", "cookie")
    found = router.route(request())
    assert found is not None
    assert found.route.name == "rest"


def splits(*weights: int) -> tuple[Split, ...]:
    return tuple(Split(cluster=f"c{number}", weight=weight) for number, weight in enumerate(weights))


def test_splits_are_chosen_by_their_weight() -> None:
    compiled, rng = CompiledRoute(route(splits=splits(100, 900, 9000))), random.Random(1)
    counts = Counter(chosen(compiled, request(), rng) for _ in range(20_000))
    for cluster, share in (("c0", 0.01), ("c1", 0.09), ("c2", 0.9)):
        assert abs(counts[cluster] / 20_000 - share) < 0.01


def test_a_split_without_weight_gets_nothing() -> None:
    compiled, rng = CompiledRoute(route(splits=splits(0, 5, 0))), random.Random(1)
    assert {chosen(compiled, request(), rng) for _ in range(1000)} == {"c1"}
    assert CompiledRoute(route(splits=splits(0, 0))).choose(request(), rng) is None
    assert CompiledRoute(route(splits=())).choose(request(), rng) is None


def test_a_caller_keeps_its_split_and_a_growing_canary_takes_nobody_back() -> None:
    sticky = StickyKey(header="X-User")
    routes = [
        CompiledRoute(route(splits=splits(weight, 10_000 - weight), sticky=sticky)) for weight in (500, 1000, 5000)
    ]
    rng = random.Random(1)
    canaries = [
        {user for user in range(4000) if chosen(compiled, request(f"X-User: u{user}"), rng) == "c0"}
        for compiled in routes
    ]
    assert canaries[0] < canaries[1] < canaries[2]
    for found, share in zip(canaries, (0.05, 0.1, 0.5), strict=True):
        assert abs(len(found) / 4000 - share) < 0.03


def test_the_same_splits_on_another_route_keep_the_caller_too() -> None:
    sticky = StickyKey(header="x-user")
    here = CompiledRoute(route("a", splits=splits(50, 50), sticky=sticky))
    there = CompiledRoute(route("b", splits=splits(50, 50), sticky=sticky, match=HttpMatch(path_prefix="/b")))
    rng = random.Random(1)
    for user in range(200):
        each = request(f"X-User: {user}")
        assert chosen(here, each, rng) == chosen(there, each, rng)


def test_a_cookie_is_made_once_and_then_decides() -> None:
    compiled = CompiledRoute(route(splits=splits(50, 50), sticky=StickyKey(cookie="canary", ttl_s=60.9)))
    rng = random.Random(3)
    seen = set()
    for _ in range(50):
        first = compiled.choose(request(), rng)
        assert first is not None
        pair, *attributes = first.cookie.decode().split("; ")
        assert attributes == ["Path=/", "Max-Age=60", "HttpOnly", "SameSite=Lax"]
        again = compiled.choose(request(f"Cookie: other=1; {pair}"), rng)
        assert again is not None
        assert (again.split, again.cookie) == (first.split, b"")
        seen.add(first.split.cluster)
    assert seen == {"c0", "c1"}


def test_without_the_sticky_header_chance_decides() -> None:
    compiled, rng = CompiledRoute(route(splits=splits(50, 50), sticky=StickyKey(header="x-user"))), random.Random(1)
    assert {chosen(compiled, request(), rng) for _ in range(50)} == {"c0", "c1"}


@pytest.mark.parametrize(
    ("match", "rewrite", "target", "path"),
    [
        (HttpMatch(path_prefix="/api"), "/v1", "/api/x?q", b"/v1/x"),
        (HttpMatch(path_prefix="/api"), "/", "/api/x", b"/x"),
        (HttpMatch(path_prefix="/api/"), "/", "/api/x", b"/x"),
        (HttpMatch(path_prefix="/api"), "/", "/api", b"/"),
        (HttpMatch(path_prefix="/api"), "/v1", "/apis", b"/v1s"),
        (HttpMatch(path_prefix="/API", case_insensitive=True), "/v1", "/api/X", b"/v1/X"),
        (HttpMatch(path_prefix="/a:b"), "/v1", "/a%3ab/c%20d", b"/v1/c%20d"),
        (HttpMatch(path_exact="/api"), "/v1", "/api", b"/v1"),
        (HttpMatch(path_regex="/a.*"), "/v1", "/abc/d", b"/v1"),
        (None, "/v1", "/x", b"/v1/x"),
        (HttpMatch(path_prefix="/api"), "/a b", "/api/x", b"/a%20b/x"),
        (None, "/v1", "*", b"*"),
    ],
)
def test_the_matched_prefix_is_rewritten(match: HttpMatch | None, rewrite: str, target: str, path: bytes) -> None:
    compiled = CompiledRoute(route(match=match, prefix_rewrite=rewrite))
    each = request(target=target, method="OPTIONS")
    assert compiled.matches(each) or target == "*"
    choice = compiled.choose(each, random.Random(1))
    assert choice is not None
    assert choice.path == path


def test_without_a_rewrite_the_normal_path_goes_on() -> None:
    choice = CompiledRoute(route()).choose(request(target="/a/../b%3a"), random.Random(1))
    assert choice is not None
    assert choice.path == b"/b%3A"


def test_a_rewrite_cannot_be_used_to_leave_its_place() -> None:
    compiled = CompiledRoute(route(match=HttpMatch(path_prefix="/files"), prefix_rewrite="/public/"))
    with pytest.raises(Refusal):
        compiled.choose(request(target="/files../secret"), random.Random(1))


@pytest.mark.parametrize(
    ("redirect", "target", "headers", "location"),
    [
        (HttpRedirect(path="/new"), "/old?q=1", (), b"/new?q=1"),
        (HttpRedirect(path="/new?x=1"), "/old?q=1", (), b"/new?x=1"),
        (HttpRedirect(path="/n w?x y"), "/old", (), b"/n%20w?x%20y"),
        (HttpRedirect(prefix_rewrite="/v2"), "/old/a%20b?q", (), b"/v2/a%20b?q"),
        (HttpRedirect(host="other"), "/old/x?q", (), b"http://other/old/x?q"),
        (HttpRedirect(host="other"), "/old", ("X-Forwarded-Proto: https",), b"https://other/old"),
        (HttpRedirect(scheme="https"), "/old", (), b"https://web:8080/old"),
        (HttpRedirect(scheme="https", host="o:1", path="/"), "/old", (), b"https://o:1/"),
        (HttpRedirect(), "//old.example/x", (), b"/old.example/x"),
        (HttpRedirect(path="//evil.example"), "/old", (), b"/evil.example"),
    ],
)
def test_redirects_name_the_new_place(
    redirect: HttpRedirect, target: str, headers: tuple[str, ...], location: bytes
) -> None:
    compiled = CompiledRoute(route(match=HttpMatch(path_prefix="/old"), redirect=redirect))
    assert compiled.location(request(*headers, target=target), redirect) == location


def test_a_redirect_to_another_scheme_leaves_the_usual_port_behind() -> None:
    redirect = HttpRedirect(scheme="https")
    compiled = CompiledRoute(route(redirect=redirect))
    assert compiled.location(request(host="web:80"), redirect) == b"https://web/"
    same = HttpRedirect(scheme="http", path="/x")
    assert compiled.location(request(host="web:80"), same) == b"http://web:80/x"


def test_edits_of_the_split_come_before_those_of_the_route() -> None:
    split = Split(
        cluster="c",
        request_headers=(HeaderEdits(set={"X-A": "split"}), HeaderEdits(add={"X-B": "1"})),
        response_headers=(HeaderEdits(remove=("Server",)),),
    )
    compiled = CompiledRoute(route(splits=(split,), request_headers=HeaderEdits(set={"X-A": "route"})))
    choice = compiled.choose(request(), random.Random(1))
    assert choice is not None
    assert choice.request_edits.added == ((b"X-B", b"1"), (b"X-A", b"route"))
    assert choice.response_edits.dropped == {b"server"}
