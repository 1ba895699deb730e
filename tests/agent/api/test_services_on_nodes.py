"""`/v1/catalog/services?node-meta=`, which monitoring watches: it wakes for whatever changes what those nodes offer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.http_api import Api, with_registry

RACK = {"Node": "n7", "Address": "127.0.0.7", "NodeMeta": {"rack": "7"}}
PATH = "/v1/catalog/services?node-meta=rack:7"
CHANGES: list[tuple[dict[str, Any], dict[str, list[str]]]] = [
    ({**RACK, "Service": {"Service": "web", "Tags": ["a"]}}, {"db": ["x"], "web": ["a"]}),
    ({**RACK, "Service": {"Service": "db", "Tags": ["x", "y"]}}, {"db": ["x", "y"]}),
    ({**RACK, "NodeMeta": {"rack": "8"}}, {}),
]


@pytest.mark.parametrize(("change", "after"), CHANGES)
def test_a_watcher_of_the_services_of_some_nodes_wakes_for_what_changes_there(
    tmp_path: Path, change: dict[str, Any], after: dict[str, list[str]]
) -> None:
    async def body(api: Api) -> None:
        elsewhere = {"Node": "n8", "Address": "127.0.0.8", "Service": {"Service": "web", "Tags": ["a"]}}
        for row in (elsewhere, {**RACK, "Service": {"Service": "db", "Tags": ["x"]}}):
            assert (await api.put("/v1/catalog/register", row)).status == 200
        first = await api.get(PATH)
        assert first.json() == {"db": ["x"]}
        blocked = asyncio.ensure_future(api.get(f"{PATH}&index={first.headers['X-Consul-Index']}&wait=10s"))
        await asyncio.sleep(0)
        assert (await api.put("/v1/catalog/register", change)).status == 200
        answer = await asyncio.wait_for(blocked, 5)
        assert answer.json() == after
        assert int(answer.headers["X-Consul-Index"]) > int(first.headers["X-Consul-Index"])

    with_registry(tmp_path, body)
