"""`/v1/discovery-chain`, before a real server room."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.http_api import Api, with_registry

PATH = "/v1/discovery-chain/web"
NAME = "web.default.default.dc1"


def test_a_chain_has_consuls_shape_field_by_field(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await api.get(PATH)
        chain = answer.json()["Chain"]
        sni = chain["Targets"][NAME]["SNI"]
        assert sni.startswith("web.default.dc1.internal.")
        assert answer.json() == {
            "Chain": {
                "ServiceName": "web", "Namespace": "default", "Partition": "default", "Datacenter": "dc1",
                "Default": True, "Protocol": "tcp", "StartNode": f"resolver:{NAME}",
                "Nodes": {
                    f"resolver:{NAME}": {
                        "Type": "resolver", "Name": NAME,
                        "Resolver": {"Default": True, "ConnectTimeout": "5s", "Target": NAME},
                    }
                },
                "Targets": {
                    NAME: {
                        "ID": NAME, "Service": "web", "Namespace": "default", "Partition": "default",
                        "Datacenter": "dc1", "MeshGateway": {}, "Subset": {}, "SNI": sni, "Name": sni,
                    }
                },
            }
        }  # fmt: skip
        assert int(answer.headers["X-Consul-Index"]) >= 1

    with_registry(tmp_path, body)


def test_a_blocked_reader_hears_of_a_new_protocol(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "tcp"})
        index = (await api.get(PATH)).headers["X-Consul-Index"]
        waiting = asyncio.create_task(api.get(f"{PATH}?index={index}&wait=20s"))
        entry = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}
        assert (await api.put("/v1/config", entry)).text == "true"
        entry = {"Kind": "service-defaults", "Name": "web", "Protocol": "grpc", "Meta": {"team": "shop"}}
        assert (await api.put("/v1/config", entry)).text == "true"
        assert (await waiting).status == 200
        chain = (await api.get(PATH)).json()["Chain"]
        assert (chain["Protocol"], chain["ServiceMeta"]) == ("grpc", {"team": "shop"})

    with_registry(tmp_path, body)


def test_a_post_overrides_and_compile_dc_says_from_where_it_is_seen(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        overrides = {
            "OverrideConnectTimeout": "7s", "OverrideProtocol": "HTTP", "OverrideMeshGateway": {"Mode": "remote"},
        }  # fmt: skip
        chain = (await api.ask("POST", f"{PATH}?compile-dc=dc2", json=overrides)).json()["Chain"]
        name = "web.default.default.dc2"
        assert chain["Nodes"][f"resolver:{name}"]["Resolver"]["ConnectTimeout"] == "7s"
        assert chain["Targets"][name]["MeshGateway"] == {"Mode": "remote"}
        assert (chain["Protocol"], len(chain["CustomizationHash"]), chain["Datacenter"]) == ("http", 8, "dc2")
        nanoseconds = (await api.ask("POST", PATH, json={"OverrideConnectTimeout": 2_500_000_000})).json()["Chain"]
        assert nanoseconds["Nodes"][f"resolver:{NAME}"]["Resolver"]["ConnectTimeout"] == "2.5s"

    with_registry(tmp_path, body)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        for path, json, text in (
            ("/v1/discovery-chain/", {}, "Missing chain name"),
            (PATH, {"OverrideConnectTimeout": "soon"}, "Request decode failed: OverrideConnectTimeout"),
            (PATH, {"OverrideConnectTimeout": -1}, "not negative"),
            (PATH, {"OverrideMeshGateway": {"Mode": "moon"}}, "is no mode"),
            (PATH, {"OverrideProtocol": "x" * 300}, "at most 255"),
            (PATH, {"Override": 1}, "unknown field"),
        ):
            answer = await api.ask("POST", path, json=json)
            assert answer.status == 400, path
            assert text in answer.text
        assert (await api.ask("POST", PATH, data=b"{")).status == 400
        assert (await api.put(PATH, {})).status == 405

    with_registry(tmp_path, body)
