"""L7 permissions: the first that matches decides; what can be read in two ways is judged against the caller."""

from __future__ import annotations

import random

import pytest

from chowk.connect.http1.heads import RequestHead, parse_request
from chowk.connect.http1.path import normalise
from chowk.connect.http1.refusal import Refusal
from chowk.connect.intentions.requests import RequestPolicy, decide_request, readings
from chowk.connect.routing.router import Router
from chowk.connect.snapshot import HttpRoute, Split
from chowk.core.records.config_entry import ALLOW, DENY, HttpPermission, Permission
from chowk.core.records.intention import Intention, precedence
from chowk.core.records.traffic import HeaderMatch, HttpMatch


def request(*headers: str, target: str = "/", method: str = "GET") -> RequestHead:
    host = target if method == "CONNECT" else "a"
    return parse_request(
        "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1")
    )


def allow(**http: object) -> Permission:
    return Permission(action=ALLOW, http=HttpPermission(**http))  # type: ignore[arg-type]


def deny(**http: object) -> Permission:
    return Permission(action=DENY, http=HttpPermission(**http))  # type: ignore[arg-type]


def intention(*permissions: Permission, source: str = "web", destination: str = "db", action: str = "") -> Intention:
    return Intention(
        source_name=source,
        destination_name=destination,
        action=action,
        permissions=permissions,
        precedence=precedence(source, destination),
    )


def allowed(permissions: list[Permission], each: RequestHead, *, default: bool = False) -> bool:
    return decide_request([intention(*permissions)], "web", "db", default, each).allowed


def test_the_first_permission_that_matches_decides() -> None:
    rules = [deny(path_prefix="/admin", methods=("DELETE",)), allow(path_prefix="/admin"), deny(path_prefix="/")]
    assert not allowed(rules, request(target="/admin/x", method="DELETE"), default=True)
    assert allowed(rules, request(target="/admin/x"))
    assert not allowed(rules, request(target="/other"), default=True)


@pytest.mark.parametrize("default", [True, False])
def test_when_none_matches_the_default_decides(default: bool) -> None:
    decision = decide_request([intention(allow(path_exact="/a"))], "web", "db", default, request(target="/b"))
    assert decision.allowed is default
    assert decision.reason == (
        "No permission of the L7 intention web => db matches the request, and the default policy "
        + ("allows it" if default else "denies it")
    )


def test_the_reason_names_the_permission_and_what_it_says() -> None:
    rule = deny(path_prefix="/admin", methods=("GET", "PUT"), header=(HeaderMatch(name="X-A", present=True),))
    decision = decide_request(
        [intention(allow(path_exact="/"), rule)], "web", "db", True, request("x-a:", target="/admin")
    )
    assert decision.reason == (
        "Matched permission 2 of the L7 intention web => db (deny: path prefix '/admin'; methods GET, PUT; headers X-A)"
    )
    assert decision.intention is not None


def test_an_l4_intention_decides_about_every_request() -> None:
    for action in (ALLOW, DENY):
        policy = RequestPolicy([intention(action=action)], "web", "db", action == DENY)
        assert policy.decide(request()).allowed is (action == ALLOW)
        assert policy.decide(request(method="CONNECT", target="a:1")).allowed is (action == ALLOW)
        assert not policy.looks_at_requests
    assert RequestPolicy([intention(allow(path_exact="/"))], "web", "db", False).looks_at_requests


def test_the_intention_of_highest_precedence_decides_alone() -> None:
    rules = [intention(action=ALLOW, source="*"), intention(deny(path_prefix="/admin"))]
    assert not decide_request(rules, "web", "db", True, request(target="/admin")).allowed
    assert not decide_request(rules, "web", "db", False, request(target="/")).allowed
    assert decide_request(rules, "api", "db", False, request(target="/admin")).allowed
    assert decide_request([], "web", "db", True, request()).allowed
    assert not decide_request([], "web", "db", False, request()).allowed


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/admin/",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/%61dmin",
        "/x/%2e%2e/admin",
        "/%61%64min/x?y",
        "/admin%3fx",
    ],
)
def test_no_spelling_of_a_path_gets_around_a_denial(target: str) -> None:
    assert not allowed([deny(path_prefix="/admin")], request(target=target), default=True)
    assert not allowed([deny(path_regex="/admin.*")], request(target=target), default=True)


@pytest.mark.parametrize("target", ["/admin;x", "/admin;x=1;y/", "/admin%3bx", "/;x/admin", "/x;y/../admin;"])
def test_parameters_of_segments_get_around_no_denial(target: str) -> None:
    each = request(target=target)
    assert not allowed([deny(path_regex="/admin/?")], each, default=True)
    assert not allowed([allow(path_regex="/[^;]*")], each)


def test_no_byte_gets_around_a_denial_by_regular_expression() -> None:
    for target in ("/admin/%ff", "/admin/%c3%a9", "/admin/%e9x"):
        assert not allowed([deny(path_regex="/admin/.*")], request(target=target), default=True)


def header(**condition: object) -> tuple[HeaderMatch, ...]:
    return (HeaderMatch(name="X-Role", **condition),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "values"),
    [
        ((), [None]),
        (("X-Role: a",), [b"a"]),
        (("X-Role:",), [b""]),
        (("X-Role: a", "x-role: b"), [b"a, b", b"a", b"b"]),
        (("X_Role: a",), [None, b"a"]),
        (("X-Role: a", "X_Role: b"), [b"a", b"a", b"b"]),
        (("X-Role: a", "Connection: X-Role"), [b"a", None]),
        (("X-Role: a", "Other_Name: b"), [b"a", b"a"]),
    ],
)
def test_a_header_is_read_in_every_way_an_application_may(headers: tuple[str, ...], values: list[bytes | None]) -> None:
    assert readings(request(*headers), b"x-role") == values


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("X-Role: user",),
        ("X-Role: admin", "X-Role: user"),
        ("X-Role: user", "X-Role: admin"),
        ("X_Role: admin",),
        ("X-Role: admin", "X_Role: user"),
        ("X-Role: admin", "Connection: x-role"),
        ("X-Role: Admin",),
    ],
)
def test_only_a_header_that_cannot_be_read_otherwise_allows(headers: tuple[str, ...]) -> None:
    assert not allowed([allow(header=header(exact="admin"))], request(*headers))
    assert allowed([allow(header=header(exact="admin"))], request("X-Role: admin"))


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Role: guest",),
        ("X-Role: guest", "X-Role: user"),
        ("X-Role: user", "X-Role: guest"),
        ("X_Role: guest",),
        ("X-Role: user", "X_Role: guest"),
    ],
)
def test_a_header_that_can_be_read_as_denied_denies(headers: tuple[str, ...]) -> None:
    assert not allowed([deny(header=header(exact="guest"))], request(*headers), default=True)
    assert allowed([deny(header=header(exact="guest"))], request("X-Role: user"), default=True)


def test_a_missing_header_counts_against_the_caller_where_a_condition_is_inverted() -> None:
    assert not allowed([deny(header=header(exact="admin", invert=True))], request(), default=True)
    assert not allowed([allow(header=header(exact="guest", invert=True))], request())
    assert allowed([deny(header=header(exact="admin", invert=True))], request("X-Role: admin"), default=True)
    assert allowed([allow(header=header(exact="guest", invert=True))], request("X-Role: user"))


def test_presence_and_absence() -> None:
    assert allowed([allow(header=header(present=True))], request("X-Role:"))
    assert not allowed([allow(header=header(present=True))], request())
    assert allowed([allow(header=header(present=True, invert=True))], request())
    assert not allowed([allow(header=header(present=True, invert=True))], request("X_Role: a"))
    assert not allowed([deny(header=header(present=True, invert=True))], request(), default=True)
    assert not allowed(
        [deny(header=header(present=True, invert=True))], request("X-Role: a", "Connection: x-role"), default=True
    )


def test_a_tunnel_passes_only_by_a_permission_that_names_it() -> None:
    tunnel = request(method="CONNECT", target="a:80")
    assert not allowed([deny(path_prefix="/admin")], tunnel, default=True)
    assert not allowed([allow(path_prefix="/")], tunnel, default=True)
    assert not allowed([allow(header=(HeaderMatch(name="host", present=True),))], tunnel, default=True)
    assert not allowed([allow(methods=("CONNECT",), path_prefix="/")], tunnel, default=True)
    assert not allowed([allow(methods=("CONNECT",), path_regex=".*")], tunnel, default=True)
    assert allowed([allow(methods=("CONNECT",))], tunnel)
    assert not allowed([deny(methods=("CONNECT",)), allow(methods=("CONNECT",))], tunnel, default=True)


def test_an_intention_that_cannot_be_read_denies_everything() -> None:
    rules = [allow(path_prefix="/"), deny(path_regex="(")]
    for each in (request(), request(method="CONNECT", target="a:1")):
        decision = decide_request([intention(*rules)], "web", "db", True, each)
        assert not decision.allowed
        assert "cannot be read" in decision.reason


def test_routes_and_permissions_never_disagree_about_a_path() -> None:
    """The same words, as a route and as a permission, over random targets."""
    rng = random.Random(11)
    pieces = (
        "/",
        "//",
        "a",
        "A",
        "%61",
        ".",
        "..",
        "%2e",
        "admin",
        "%3a",
        ":",
        ";",
        "%20",
        "%c3%a9",
        "\xe9",
        "b?",
        "*",
    )
    rules = [
        {"path_exact": "/admin"}, {"path_prefix": "/a"}, {"path_regex": "/(a|admin)/.*"}, {"path_prefix": "/a:"},
        {"path_prefix": "/\xe9"}, {"path_exact": "/"}, {"path_prefix": "/a/../admin"},
    ]  # fmt: skip
    pairs = []
    for words in rules:
        route = HttpRoute(name="r", match=HttpMatch(**words), splits=(Split(cluster="c"),))
        pairs.append((Router([route]), RequestPolicy([intention(allow(**words))], "web", "db", False)))
    seen = set()
    for _ in range(4000):
        target = "/" + "".join(rng.choice(pieces) for _ in range(rng.randint(0, 6)))
        try:
            each = request(target=target)
        except Refusal:
            continue
        again = request(target=normalise(each.path)[0].decode())
        for router, policy in pairs:
            matched = router.route(each) is not None
            seen.add(matched)
            assert policy.decide(each).allowed is matched
            assert policy.decide(again).allowed is matched
    assert seen == {True, False}
