"""Coordinates over HTTP: Consul's shapes, what is refused, and rows nearest first wherever Consul sorts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chowk.core.commands import Register, UpdateCoordinates
from chowk.core.coordinate_requests import COORDINATE_UPDATE
from chowk.core.records.check import HealthCheck
from chowk.core.records.coordinate import Coordinate, NodeCoordinate
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from support.http_api import Api, with_api, with_registry

COORD = {"Vec": [0.5, 0, 0, 0, 0, 0, 0, 0.25], "Error": 0.5, "Adjustment": -0.125, "Height": 0.0625}
SHOWN = {"Vec": [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25], "Error": 0.5, "Adjustment": -0.125, "Height": 0.0625}
BODY = {"Node": "n1", "Segment": "", "Coord": COORD}


async def fill(api: Api, **places: float | None) -> None:
    """A node each, with an instance of web and a check, and where it is on a line: None is unknown."""
    propose = api.server.server.context.writes.propose
    for name in places:
        node = Node(node=name, address="127.0.0.1")
        service = NodeService(id="web", service="web", port=80)
        check = HealthCheck(node=name, check_id="c", name="c", status="passing", service_id="web", service_name="web")
        await propose(Register(node=node, service=service, checks=(check,)))
    known = [
        NodeCoordinate(node=name, coord=Coordinate(vec=(at, *(0.0,) * 7)))
        for name, at in places.items()
        if at is not None
    ]
    await propose(UpdateCoordinates(coordinates=tuple(known)))


def test_a_coordinate_that_was_put_is_shown_in_consuls_shape(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await fill(api, n1=None)
        assert (await api.get("/v1/coordinate/nodes")).json() == []
        assert (await api.get("/v1/coordinate/node/n1")).status == 404
        index = (await api.get("/v1/coordinate/nodes")).headers["X-Consul-Index"]
        put = await api.put("/v1/coordinate/update", BODY)
        assert (put.status, put.body) == (200, b"")
        waited = await api.get(f"/v1/coordinate/nodes?index={index}&wait=20s")
        assert waited.json() == [{"Node": "n1", "Segment": "", "Coord": SHOWN}]
        assert list(waited.json()[0]["Coord"]) == ["Vec", "Error", "Adjustment", "Height"]
        one = await api.get("/v1/coordinate/node/N1")
        assert one.json() == waited.json()
        assert int(one.headers["X-Consul-Index"]) > int(index)
        assert (await api.get("/v1/coordinate/node/n1?segment=other")).status == 404
        (area,) = (await api.get("/v1/coordinate/datacenters")).json()
        assert area == {"Datacenter": "dc1", "AreaID": "lan", "Coordinates": []}

    with_registry(tmp_path, body)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"Coord": None}, "Missing coordinate"),
        ({"Node": ""}, "Missing node name"),
        ({"Segment": "alpha"}, "Network segments are not supported"),
        ({"Coord": {**COORD, "Vec": [0.0] * 7}}, "Invalid coordinate: it has 7 dimensions"),
        ({"Coord": {**COORD, "Vec": [0.0] * 1000}}, "Invalid coordinate: it has 1000 dimensions"),
        ({"Coord": {**COORD, "Vec": [1e300] * 8}}, "Invalid coordinate"),
        ({"Coord": {**COORD, "Height": -1}}, "Invalid coordinate"),
        ({"Coord": {**COORD, "Error": "much"}}, "Request decode failed"),
        ({"Coord": {**COORD, "Extra": 1}}, "Request decode failed"),
    ],
)
def test_what_is_no_coordinate_is_refused(tmp_path: Path, wrong: dict[str, Any], text: str) -> None:
    async def body(api: Api) -> None:
        await fill(api, n1=None)
        answer = await api.put("/v1/coordinate/update", {**BODY, **wrong})
        assert answer.status == 400
        assert answer.text.startswith(text)

    with_registry(tmp_path, body)


def test_numbers_that_are_none_do_not_reach_a_server(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(COORDINATE_UPDATE, None)
        for number in ("NaN", "Infinity", "1e999"):
            answer = await api.put(
                "/v1/coordinate/update", data=b'{"Node":"n1","Coord":{"Height":%s}}' % number.encode()
            )
            assert answer.status == 400
        assert api.server.calls == []

    with_api(tmp_path, body)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/catalog/nodes",
        "/v1/catalog/service/web",
        "/v1/health/service/web",
        "/v1/health/checks/web",
        "/v1/health/state/passing",
    ],
)
def test_rows_are_sorted_by_nearness_where_consul_sorts_them(tmp_path: Path, path: str) -> None:
    async def body(api: Api) -> None:
        await fill(api, n1=0.0, n2=0.03, n3=None, n4=0.01, n5=None, n6=0.02)

        async def order(query: str) -> str:
            rows = (await api.get(f"{path}?{query}")).json()
            named = [row["Node"]["Node"] if isinstance(row["Node"], dict) else row["Node"] for row in rows]
            return "".join(name[1] for name in named if name != "solo")

        assert await order("") == "123456"
        assert await order("near=_agent") == await order("near=n1") == await order("near=N1&stale") == "146235"
        assert await order("near=n2") == "264135"
        assert await order("near=n3") == await order("near=nobody") == "123456"
        assert await order("near=n2&cached") == "264135"

    with_registry(tmp_path, body)
