"""Snapshots, autopilot and Raft membership over HTTP, before a real server room."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from chowk.core.archive import verify
from chowk.core.cluster_requests import MEMBERS_REPORT, MembersReport
from chowk.core.errors import NoLeader
from chowk.core.operator_requests import SNAPSHOT_CHUNK
from chowk.core.records.member import FAILED, Member
from support.http_api import Api, with_registry


async def register(api: Api, name: str) -> None:
    answer = await api.put("/v1/catalog/register", {"Node": name, "Address": "127.0.0.1"})
    assert answer.status == 200, answer.text


async def nodes(api: Api) -> list[str]:
    return [node["Node"] for node in (await api.get("/v1/catalog/nodes")).json()]


def test_a_saved_snapshot_brings_everything_back(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        for number in range(700):
            await register(api, f"n{number:03}")
        saved = await api.get("/v1/snapshot")
        assert (saved.status, saved.headers["Content-Type"]) == (200, "application/x-gzip")
        meta = verify(io.BytesIO(saved.body))
        assert int(saved.headers["X-Consul-Index"]) == meta.index
        await register(api, "later")
        for number in range(5):
            await api.put("/v1/catalog/deregister", {"Node": f"n{number:03}"})
        before = int((await api.get("/v1/catalog/nodes")).headers["X-Consul-Index"])
        restored = await api.put("/v1/snapshot", data=saved.body)
        assert (restored.status, restored.text) == (200, "")
        after = await api.get("/v1/catalog/nodes")
        assert [node["Node"] for node in after.json()] == [f"n{number:03}" for number in range(700)]
        assert int(after.headers["X-Consul-Index"]) > before

    with_registry(tmp_path, scene)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "none"])
def test_what_is_no_whole_snapshot_is_refused_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    async def scene(api: Api) -> None:
        body = bytearray((await api.get("/v1/snapshot")).body)
        if damage == "cut":
            del body[-9:]
        elif damage == "flipped":
            body[len(body) // 2] ^= 1
        else:
            body = bytearray(b"" if damage == "empty" else b"{}" * 1000)
        await register(api, "stays")
        answer = await api.put("/v1/snapshot", data=bytes(body))
        assert answer.status == 400
        assert "failed to read the snapshot" in answer.text
        assert "Nothing was changed" in answer.text
        assert await nodes(api) == ["stays"]

    with_registry(tmp_path, scene)


def test_a_restore_that_is_cut_off_says_that_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(api: Api) -> None:
        saved = (await api.get("/v1/snapshot")).body
        await register(api, "stays")
        call = api.context.client.call

        async def without_a_leader(method: Any, request: Any, **options: Any) -> Any:
            if method is SNAPSHOT_CHUNK:
                raise NoLeader
            return await call(method, request, **options)

        monkeypatch.setattr(api.context.client, "call", without_a_leader)
        answer = await api.put("/v1/snapshot", data=saved)
        assert answer.status == 500
        assert answer.text == "the restore was cut off: No cluster leader. Nothing was changed: run it again"
        assert await nodes(api) == ["stays"]

    with_registry(tmp_path, scene)


def test_a_watcher_sees_a_restore(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        await register(api, "one")
        saved = (await api.get("/v1/snapshot")).body
        await register(api, "two")
        index = (await api.get("/v1/catalog/nodes")).headers["X-Consul-Index"]
        watch = asyncio.ensure_future(api.get(f"/v1/catalog/nodes?index={index}&wait=20s"))
        await asyncio.sleep(0.05)
        await api.put("/v1/snapshot", data=saved)
        assert [node["Node"] for node in (await asyncio.wait_for(watch, 5)).json()] == ["one"]

    with_registry(tmp_path, scene)


def test_autopilots_settings_are_read_changed_and_compared(tmp_path: Path) -> None:
    path = "/v1/operator/autopilot/configuration"

    async def scene(api: Api) -> None:
        first = (await api.get(path)).json()
        assert first == {
            "CleanupDeadServers": True, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250, "MinQuorum": 0,
            "ServerStabilizationTime": "10s", "RedundancyZoneTag": "", "DisableUpgradeMigration": False,
            "UpgradeVersionTag": "", "CreateIndex": 0, "ModifyIndex": 0,
        }  # fmt: skip
        assert (await api.put(path, {"MinQuorum": 3, "ServerStabilizationTime": "1m"})).json() is True
        second = (await api.get(path)).json()
        assert (second["MinQuorum"], second["ServerStabilizationTime"], second["CleanupDeadServers"]) == (
            3,
            "1m0s",
            True,
        )
        assert (await api.put(f"{path}?cas=1", {"MinQuorum": 4})).json() is False
        assert (await api.put(f"{path}?cas={second['ModifyIndex']}", {"LastContactThreshold": 10**9})).json() is True
        assert (await api.get(path)).json()["LastContactThreshold"] == "1s"

    with_registry(tmp_path, scene)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"MinQuorum": -1}, "MinQuorum must be between 0 and 64"),
        ({"LastContactThreshold": "soon"}, "invalid duration"),
        ({"ServerStabilizationTime": "-1s"}, "ServerStabilizationTime must be between"),
        ({"UpgradeVersionTag": "v"}, "UpgradeVersionTag is not supported"),
        ({"Quorum": 1}, "Request decode failed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, body: dict[str, object], text: str) -> None:
    async def scene(api: Api) -> None:
        answer = await api.put("/v1/operator/autopilot/configuration", body)
        assert answer.status == 400
        assert text in answer.text

    with_registry(tmp_path, scene)


def test_the_health_of_the_servers_is_a_status_and_a_list(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        answer = await api.get("/v1/operator/autopilot/health")
        assert (answer.status, answer.json()["Healthy"]) == (200, True)
        server = answer.json()["Servers"][0]
        assert (server["Name"], server["Leader"], server["Voter"], server["LastContact"]) == ("solo", True, True, "0s")
        state = (await api.get("/v1/operator/autopilot/state")).json()
        assert (state["Leader"], state["Voters"], state["Servers"]["solo"]["Status"]) == ("solo", ["solo"], "leader")
        failed = Member(
            name="solo", address="127.0.0.1", port=8301, status=FAILED, tags={"role": "consul", "id": "solo"}
        )
        await api.context.client.call(MEMBERS_REPORT, MembersReport(members=(failed,)))
        answer = await api.get("/v1/operator/autopilot/health")
        assert (answer.status, answer.json()["Healthy"]) == (429, False)

    with_registry(tmp_path, scene)


def test_members_of_raft_are_removed_by_what_names_them(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        for query in ("", "?id=a&address=b"):
            answer = await api.ask("DELETE", f"/v1/operator/raft/peer{query}")
            assert answer.status == 400
            assert answer.text.startswith("Must specify either ?id")
        answer = await api.ask("DELETE", "/v1/operator/raft/peer?address=127.0.0.9:1")
        assert (answer.status, answer.text) == (404, 'address "127.0.0.9:1" was not found in the Raft configuration')
        answer = await api.ask("POST", "/v1/operator/raft/transfer-leader?id=x")
        assert (answer.status, answer.text) == (404, 'id "x" was not found in the Raft configuration')
        assert (await api.ask("POST", "/v1/operator/raft/transfer-leader")).status == 400

    with_registry(tmp_path, scene)
