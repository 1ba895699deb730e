from __future__ import annotations

from typing import Any

from chowk.agent.commands.intention_advice import suggestions


def seen(
    peer: str, opened: int, denied: int = 0, permitted: int = 0, *, service: str = "db", direction: str = "inbound"
) -> Any:
    return {
        "Service": service, "Peer": peer, "Direction": direction, "Opened": opened, "Denied": denied, "Permitted": permitted,
    }  # fmt: skip


def test_each_caller_that_was_let_through_gets_a_command() -> None:
    lines = suggestions([seen("web", 3, permitted=2), seen("web", 4), seen("api", 1)], {})
    assert lines == [
        "chowk intention create -allow -description 'seen 1 times' api db",
        "chowk intention create -allow -description 'seen 7 times, then against the intentions' web db",
    ]


def test_who_was_only_denied_is_named_and_never_allowed() -> None:
    assert suggestions([seen("stranger", 0, 9)], {}) == ["# stranger => db: denied 9 times, never let through"]


def test_what_an_intention_says_already_is_not_suggested() -> None:
    assert suggestions([seen("web", 3)], {("web", "db"): "allow"}) == []


def test_outbound_calls_and_other_services_are_not_asked_about() -> None:
    assert suggestions([seen("web", 3, direction="outbound"), seen("web", 3, service="cache")], {}, "db") == []


def test_others_are_denied_only_when_every_caller_is_known() -> None:
    assert suggestions([seen("web", 1)], {("web", "db"): "allow"}, deny_others=True) == [
        "chowk intention create -deny -description 'nobody else was seen' '*' db"
    ]
    lines = suggestions([seen("web", 1), seen("(other)", 5)], {("web", "db"): "allow"}, deny_others=True)
    assert not any("-deny" in line for line in lines)
    assert any("others are not denied" in line for line in lines)


def test_who_is_denied_on_purpose_and_let_through_is_told_and_not_allowed() -> None:
    calls = [seen("web", 3, permitted=3), seen("api", 3, permitted=1), seen("job", 3, permitted=3)]
    known = {("web", "db"): "deny", ("api", "db"): "by permissions", ("job", "db"): "allow"}
    api, web = suggestions(calls, known)
    assert api.startswith("# api => db: an intention may deny it by its permissions, and 1 calls were let through")
    assert web.startswith("# web => db: an intention denies it, and 3 calls were let through although denied")


def test_a_name_that_nobody_has_is_asked_about_and_no_more(agent: Any, run: Any) -> None:
    agent.on("GET", "/v1/connect/intentions/check", {"Allowed": True, "Reason": "why"})
    agent.on("GET", "/v1/catalog/service/web", [{"ServiceName": "web"}])
    agent.on("GET", "/v1/catalog/service/bd", [])
    code, out, err = run("intention", "check", "web", "bd")
    assert (code, out) == (0, "Allowed\n")
    assert 'No service "bd" is registered now' in err
    assert '"web"' not in err
