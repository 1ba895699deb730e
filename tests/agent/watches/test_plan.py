"""A watch's core: what it asks, what is news to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chowk.agent.config.model import WatchDefinition
from chowk.agent.watches.plan import BACKOFF_S_MAX, Answer, WatchFailed, WatchPlan


def plan(kind: str = "services", **parameters: Any) -> WatchPlan:
    return WatchPlan(WatchDefinition(type=kind, **parameters))


def answer(data: Any, index: int = 1, content_hash: str = "", status: int = 200) -> Answer:
    return Answer(status, index, content_hash, json.dumps(data).encode())


@pytest.mark.parametrize(
    ("kind", "parameters", "path", "query"),
    [
        ("key", {"key": "a/b c"}, "/v1/kv/a/b%20c", {}),
        ("keyprefix", {"prefix": "a/"}, "/v1/kv/a/", {"recurse": "1"}),
        ("services", {"filter": "x == y", "datacenter": "dc2"}, "/v1/catalog/services", {"filter": "x == y", "dc": "dc2"}),
        ("nodes", {"stale": True}, "/v1/catalog/nodes", {"stale": "1"}),
        ("service", {"service": "a/b", "tags": ("x", "y"), "passing_only": True}, "/v1/health/service/a%2Fb",
         {"tag": ["x", "y"], "passing": "1"}),
        ("checks", {"service": "web"}, "/v1/health/checks/web", {}),
        ("checks", {}, "/v1/health/state/any", {}),
        ("checks", {"state": "critical"}, "/v1/health/state/critical", {}),
        ("event", {"name": "deploy"}, "/v1/event/list", {"name": "deploy"}),
        ("connect_roots", {}, "/v1/agent/connect/ca/roots", {}),
        ("connect_leaf", {"service": "web"}, "/v1/agent/connect/ca/leaf/web", {}),
        ("agent_service", {"service_id": "web-1"}, "/v1/agent/service/web-1", {}),
    ],
)  # fmt: skip
def test_each_type_asks_its_endpoint(kind: str, parameters: dict[str, Any], path: str, query: dict[str, Any]) -> None:
    ask = plan(kind, token="t", **parameters).ask()
    assert (ask.path, ask.query, ask.token) == (path, query, "t")


def test_the_first_answer_is_news_and_the_next_question_blocks_on_its_index() -> None:
    watch = plan()
    change = watch.receive(answer({"web": []}, 7))
    assert change is not None
    assert (change.index, change.data) == (7, {"web": []})
    assert watch.ask().query == {"index": "7", "wait": "45s"}


def test_an_index_that_moved_with_the_same_result_is_no_news() -> None:
    watch = plan()
    watch.receive(answer({"web": []}, 7))
    assert watch.receive(answer({"web": []}, 7)) is None
    assert watch.receive(answer({"web": []}, 8)) is None
    assert watch.ask().query["index"] == "8"
    change = watch.receive(answer({"db": []}, 9))
    assert change is not None
    assert change.index == 9


def test_an_index_that_went_back_begins_again_and_another_result_is_still_told() -> None:
    watch = plan()
    watch.receive(answer({"web": []}, 100))
    change = watch.receive(answer({"db": []}, 3))
    assert change is not None
    assert change.index == 3
    assert watch.ask().query == {}
    assert watch.receive(answer({"db": []}, 3)) is None
    assert watch.ask().query["index"] == "3"


def test_failures_wait_longer_each_time_and_ask_anew_without_blocking() -> None:
    watch = plan()
    watch.receive(answer({"web": []}, 7))
    assert [watch.fail() for _ in range(4)] == [1, 4, 9, 16]
    assert watch.ask().query == {}
    assert max(watch.fail() for _ in range(30)) == BACKOFF_S_MAX
    assert watch.receive(answer({"web": []}, 2)) is None, "the same result after an outage is no news"
    assert watch.fail() == 1, "an answer ends the backoff"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (Answer(500, 0, "", b"No cluster leader"), "500 \\(No cluster leader\\)"),
        (Answer(200, 5, "", b"<html>"), "not JSON"),
        (Answer(200, 0, "", b"{}"), "no index"),
        (Answer(404, 5, "", b""), "404"),
    ],
)
def test_what_is_no_answer_is_refused(wrong: Answer, text: str) -> None:
    with pytest.raises(WatchFailed, match=text):
        plan().receive(wrong)


def test_a_key_is_shown_alone_and_a_missing_one_as_null() -> None:
    watch = plan("key", key="a")
    change = watch.receive(Answer(404, 5, "", b""))
    assert change is not None
    assert (change.index, change.data) == (5, None)
    row = {"Key": "a", "Value": "eA=="}
    change = watch.receive(answer([row], 6))
    assert change is not None
    assert change.data == row


def test_events_are_told_once_each_though_their_index_goes_up_and_down() -> None:
    watch = plan("event")
    first, second, third = ({"ID": name, "Payload": None} for name in "abc")
    assert watch.receive(answer([first], 50)).data == [first]  # type: ignore[union-attr]
    assert watch.receive(answer([first, second], 20)).data == [second]  # type: ignore[union-attr]
    assert watch.ask().query["index"] == "20"
    assert watch.receive(answer([third], 30)).data == [third]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["nodes", "event"])
def test_what_did_not_change_during_an_outage_is_no_news_after_it(kind: str) -> None:
    watch = plan(kind)
    row = {"ID": "a"}
    assert watch.receive(answer([row], 50)) is not None
    for _try in range(3):
        watch.fail()
    assert "index" not in watch.ask().query
    assert watch.receive(answer([row], 50)) is None
    assert watch.ask().query["index"] == "50"
    assert watch.receive(answer([row, {"ID": "b"}], 60)) is not None


def test_an_agents_service_is_watched_by_its_hash() -> None:
    watch = plan("agent_service", service_id="web")
    change = watch.receive(answer({"ID": "web"}, 0, "abc"))
    assert change is not None
    assert watch.ask().query == {"hash": "abc", "wait": "45s"}
    assert watch.receive(answer({"ID": "web"}, 0, "abc")) is None
    assert watch.receive(answer({"ID": "web", "Port": 1}, 0, "def")) is not None
