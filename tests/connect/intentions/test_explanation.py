from __future__ import annotations

import pytest

from chowk.connect.http1.refusal import Refusal
from chowk.connect.intentions.explanation import Explanation, explain, read_request
from chowk.core.records.config_entry import HttpPermission, Permission
from chowk.core.records.intention import Intention, precedence


def rule(source: str, destination: str, action: str = "allow", *permissions: Permission) -> Intention:
    return Intention(
        source_name=source, destination_name=destination, action="" if permissions else action, permissions=permissions,
        precedence=precedence(source, destination),
    )  # fmt: skip


def why(*rules: Intention, permissive: bool = False, default_allow: bool = True, **request: str) -> Explanation:
    asked = read_request(request.get("method", ""), request.get("path", ""), ()) if request else None
    return explain(rules, "web", "db", default_allow=default_allow, permissive=permissive, request=asked)


def test_the_rule_of_highest_precedence_decides_and_the_others_stand_behind_it() -> None:
    found = why(rule("*", "*"), rule("web", "db", "deny"), rule("*", "db"), rule("api", "db"))
    assert not found.allowed
    assert found.decided_by is not None
    assert (found.decided_by.source_name, found.decided_by.destination_name) == ("web", "db")
    assert [(each.source_name, each.destination_name) for each in found.behind] == [("*", "db"), ("*", "*")]
    assert "chowk intention create -replace -allow web db would allow it" in found.changes
    assert "chowk intention delete web db would let * => db decide (allow)" in found.changes


def test_without_a_rule_the_default_decides_and_says_so() -> None:
    found = why(default_allow=False)
    assert (found.allowed, found.decided_by, found.default) == (False, None, "deny")
    assert "chowk intention create -allow web db would allow it" in found.changes
    assert not any("delete" in change for change in found.changes)


def test_a_permissive_destination_lets_through_what_is_denied() -> None:
    found = why(rule("web", "db", "deny"), permissive=True)
    assert (found.allowed, found.let_through) == (False, True)
    assert any("permissive now" in change for change in found.changes)


def test_permissions_are_judged_for_the_request_that_is_asked_about() -> None:
    admin = Permission(action="deny", http=HttpPermission(path_prefix="/admin"))
    rest = Permission(action="allow", http=HttpPermission(path_prefix="/"))
    rules = (rule("web", "db", "", admin, rest),)
    assert why(*rules, path="/orders").allowed
    assert not why(*rules, path="/x/../admin/users").allowed
    assert not why(*rules).allowed, "a TCP connection cannot be judged by permissions"


@pytest.mark.parametrize("path", ["/a%2fb", "/a\x00", "/a b", "no-slash", "/a HTTP/1.1\r\nX: y"])
def test_a_request_that_a_sidecar_would_not_let_in_is_refused(path: str) -> None:
    with pytest.raises(Refusal):
        read_request("GET", path, ())


def test_a_header_cannot_bring_another_line() -> None:
    with pytest.raises(Refusal):
        read_request("GET", "/", [("x", "y\r\n\r\nGET / HTTP/1.1")])


def test_permissions_of_a_service_that_speaks_http_decide_requests_and_are_not_lost_without_a_word() -> None:
    permissions = tuple(
        Permission(action=action, http=HttpPermission(path_prefix=path))
        for action, path in (("deny", "/a"), ("allow", "/"))
    )
    entry = rule("web", "db", "", *permissions)
    found = explain((entry,), "web", "db", default_allow=True, permissive=False, http=True)
    assert (found.by_request, found.allowed) == (True, False)
    assert "ask with a method and a path" in found.reason
    assert not why(entry).by_request, "of TCP nothing is left to ask"
    assert (
        "chowk intention create -replace -allow web db would allow altogether: its 2 permissions would be gone"
        in found.changes
    )
