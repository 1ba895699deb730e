"""`join`, `force-leave`, `event/*` and `operator/keyring` over HTTP, before a gossip that only keeps what it was asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chowk.agent.gossip.event_log import ClusterEvent, EventLog, new_event
from chowk.agent.gossip.rotation import KeyringReply, RotationFailed
from chowk.core.errors import ChowkError, InvalidRequest
from chowk.core.records.coordinate import Coordinate
from support.http_api import Api, with_api

PATHS = (
    ("PUT", "/v1/agent/join/10.0.0.1", None),
    ("PUT", "/v1/event/fire/deploy", None),
    ("GET", "/v1/event/list", None),
    ("GET", "/v1/operator/keyring", None),
    ("POST", "/v1/operator/keyring", {"Key": "a2V5"}),
)


class Asked:
    """Stands in for the driver: it keeps the calls."""

    def __init__(self) -> None:
        self.events = EventLog()
        self.calls: list[tuple[Any, ...]] = []
        self.failure: ChowkError | None = None

    def coordinate(self) -> Coordinate | None:
        return Coordinate(height=0.25)

    async def join(self, addresses: Sequence[str]) -> int:
        self.calls.append(("join", *addresses))
        if self.failure:
            raise self.failure
        return 1

    def stats(self) -> dict[str, str]:
        return {
            "members": "2",
            "members_alive": "1",
            "members_failed": "1",
            "refused_malformed": "3",
            "refused_slow": "4",
        }

    async def force_leave(self, name: str, prune: bool) -> None:
        if name == "n1":
            raise InvalidRequest("n1 is alive")
        self.calls.append(("force_leave", name, prune))

    async def fire(
        self, name: str, payload: bytes, *, node: str = "", service: str = "", tag: str = ""
    ) -> ClusterEvent:
        event = new_event(name, payload, node, service, tag)
        self.events.add(event)
        return event

    async def change_keys(self, operation: str, key: str = "", *, local_only: bool = False) -> KeyringReply:
        self.calls.append((operation, key, local_only))
        if self.failure:
            raise self.failure
        return KeyringReply(members=2, keys={"a2V5": 2}, primary={"a2V5": 2}, errors={})


def with_gossip(path: Path, body: Any) -> None:
    async def run(api: Api) -> None:
        gossip = api.context.gossip = Asked()
        api.context.members = lambda: [{"Name": "n1"}, {"Name": "old"}]
        await body(api, gossip)

    with_api(path, run)


def test_without_gossip_each_endpoint_says_so(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for method, path, data in PATHS:
            answer = await api.ask(method, path, json=data)
            assert answer.status == 501
            assert answer.text.endswith("this agent runs without gossip")

    with_api(tmp_path, body)


def test_join_and_force_leave_reach_gossip_and_tell_its_reasons(tmp_path: Path) -> None:
    async def body(api: Api, gossip: Asked) -> None:
        assert (await api.put("/v1/agent/join/%5B::1%5D:8301")).status == 200
        assert (await api.put("/v1/agent/force-leave/old?prune=1")).status == 200
        assert (await api.put("/v1/agent/force-leave/old")).status == 200
        assert (await api.put("/v1/agent/force-leave/nobody")).status == 404
        stays = await api.put("/v1/agent/force-leave/n1")
        assert (stays.status, stays.text) == (200, "n1 is alive")
        assert (await api.put("/v1/agent/join/10.0.0.1?wan=1")).status == 400
        assert gossip.calls == [("join", "[::1]:8301"), ("force_leave", "old", True), ("force_leave", "old", False)]
        gossip.failure = ChowkError("10.0.0.9:8301: refused")
        answer = await api.put("/v1/agent/join/10.0.0.9")
        assert (answer.status, answer.text) == (500, "10.0.0.9:8301: refused")

    with_gossip(tmp_path, body)


def test_the_keyring_has_consuls_shape(tmp_path: Path) -> None:
    async def body(api: Api, gossip: Asked) -> None:
        (ring,) = (await api.get("/v1/operator/keyring?local-only=1")).json()
        assert ring == {
            "WAN": False,
            "Datacenter": "dc1",
            "Segment": "",
            "Keys": {"a2V5": 2},
            "PrimaryKeys": {"a2V5": 2},
            "NumNodes": 2,
        }
        for method in ("POST", "PUT", "DELETE"):
            assert (await api.ask(method, "/v1/operator/keyring", json={"Key": "a2V5"})).status == 200
        assert gossip.calls == [
            ("list", "", True),
            ("install", "a2V5", False),
            ("use", "a2V5", False),
            ("remove", "a2V5", False),
        ]
        assert (await api.put("/v1/operator/keyring", {})).status == 400
        gossip.failure = RotationFailed("nothing was changed: n2: it does not hold the key")
        answer = await api.put("/v1/operator/keyring", {"Key": "a2V5"})
        assert (answer.status, answer.text) == (500, "nothing was changed: n2: it does not hold the key")

    with_gossip(tmp_path, body)


def test_a_fired_event_is_listed_and_wakes_those_who_wait(tmp_path: Path) -> None:
    async def body(api: Api, gossip: Asked) -> None:
        before = await api.get("/v1/event/list")
        assert before.json() == []
        index = before.headers["X-Consul-Index"]
        waiting = asyncio.create_task(api.get(f"/v1/event/list?index={index}&wait=20s"))
        fired = (await api.put("/v1/event/fire/deploy?node=n.*&service=web&tag=v1", data=b"1.4.2")).json()
        assert fired["Payload"] == base64.b64encode(b"1.4.2").decode()
        assert (fired["Name"], fired["NodeFilter"], fired["ServiceFilter"], fired["TagFilter"]) == (
            "deploy",
            "n.*",
            "web",
            "v1",
        )
        answer = await waiting
        assert [event["ID"] for event in answer.json()] == [fired["ID"]]
        assert answer.headers["X-Consul-Index"] not in (index, "0")
        assert (await api.get("/v1/event/list?name=other")).json() == []
        empty = (await api.put("/v1/event/fire/bare")).json()
        assert empty["Payload"] is None

    with_gossip(tmp_path, body)


@pytest.mark.parametrize("query", ["node=(", "tag=v1", "service=%5B"])
def test_an_event_that_makes_no_sense_is_refused(tmp_path: Path, query: str) -> None:
    async def body(api: Api, _gossip: Asked) -> None:
        assert (await api.put(f"/v1/event/fire/deploy?{query}")).status == 400
        assert (await api.get("/v1/event/list")).json() == []

    with_gossip(tmp_path, body)


def test_info_and_metrics_have_gossips_counters(tmp_path: Path) -> None:
    async def body(api: Api, gossip: Asked) -> None:
        assert (await api.get("/v1/agent/self")).json()["Stats"]["serf_lan"] == gossip.stats()
        shown = (await api.get("/v1/agent/metrics?format=prometheus")).text
        assert 'chowk_gossip_members{status="failed"} 1.0' in shown
        assert "chowk_gossip_refused 7.0" in shown

    with_gossip(tmp_path, body)
