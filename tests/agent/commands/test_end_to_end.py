"""The command line against the true API, before a true server room: what one command writes, another one reads."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import structlog

from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.config.model import AgentConfig
from chowk.agent.local.state import LocalState
from chowk.agent.sync import Syncer
from chowk.cli import run as run_cli
from chowk.core.records.node import Node
from chowk.core.runtime.clock import SystemClock
from support.fake_server import until
from support.http_api import Api, with_registry

NODE = Node(id="0d4a9ad5-2d5b-4d3f-8e38-3a1a4c1b9f00", node="n1", address="127.0.0.1")
Cli = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def scene(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def play(body: Callable[[Cli, Api], Awaitable[None]]) -> None:
        async def run(api: Api) -> None:
            clock = SystemClock()
            local = api.context.local = LocalState(NODE, clock, None, range(21000, 21010))
            checks = api.context.checks = CheckScheduler(local, api.config.checks_config, clock)
            syncer = api.context.syncer = Syncer(local, api.context.client, clock)
            monkeypatch.setenv("CHOWK_HTTP_ADDR", f"127.0.0.1:{api.http.port}")

            async def cli(*args: str) -> tuple[int, str, str]:
                capsys.readouterr()
                code = await asyncio.to_thread(run_cli, list(args))
                return code, *capsys.readouterr()

            await checks.start()
            await syncer.start()
            try:
                await body(cli, api)
            finally:
                await syncer.close()
                await checks.close()

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        with_registry(tmp_path, run, AgentConfig(node_name="n1", node_id=NODE.id))

    yield play
    structlog.reset_defaults()


def test_a_registered_service_comes_into_the_catalog_and_goes_again(scene, tmp_path):
    file = tmp_path / "web.hcl"
    file.write_text(
        'service { name = "web" port = 80 tags = ["v1"] check { ttl = "30s" } connect { sidecar_service {} } }'
    )

    async def body(cli: Cli, api: Api) -> None:
        assert (await cli("services", "register", str(file)))[:2] == (0, "Registered service: web\n")

        async def names() -> list[str]:
            return (await cli("catalog", "services", "-tags"))[1].splitlines()

        async with asyncio.timeout(10):
            while not any(line.startswith("web  ") for line in await names()):
                await asyncio.sleep(0.02)
        assert any(line.split() == ["web", "v1"] for line in await names())
        assert (await cli("catalog", "nodes", "-service=web"))[1].splitlines()[1].startswith("n1    0d4a9ad5")
        assert (await cli("maint", "-enable", "-service=web", "-reason=why"))[0] == 0
        assert "Reason: why" in (await cli("maint"))[1]
        assert (await cli("services", "deregister", "-id=web"))[0] == 0
        async with asyncio.timeout(10):
            while any(line.startswith("web") for line in await names()):
                await asyncio.sleep(0.02)
        code, _out, err = await cli("services", "deregister", "-id=web")
        assert code == 1
        assert 'Unknown service ID "web"' in err

    scene(body)


def test_intentions_are_written_judged_listed_and_deleted(scene):
    async def body(cli: Cli, _api: Api) -> None:
        assert (await cli("intention", "list"))[1] == "There are no intentions.\n"
        assert (await cli("intention", "check", "web", "db"))[:2] == (0, "Allowed\n")
        assert (await cli("intention", "create", "-deny", "-meta=a=b", "web", "db"))[1] == "Created: web => db (deny)\n"
        assert (await cli("intention", "create", "web", "db"))[0] == 1
        assert (await cli("intention", "check", "web", "db"))[:2] == (1, "Denied\n")
        row = (await cli("intention", "list"))[1].splitlines()[1].split()
        assert row[1:] == ["web", "deny", "db", "9"]
        assert "Meta[a]:      b" in (await cli("intention", "get", row[0]))[1]
        assert (await cli("intention", "match", "db"))[1] == "web => db (deny)\n"
        assert (await cli("intention", "match", "-source", "web"))[1] == "web => db (deny)\n"
        assert (await cli("intention", "create", "-replace", "-allow", "web", "db"))[
            1
        ] == "Updated: web => db (allow)\n"
        assert (await cli("intention", "check", "web", "db"))[0] == 0
        assert (await cli("intention", "delete", "web", "db"))[1] == "Intention deleted.\n"
        assert (await cli("intention", "get", "web", "db"))[0] == 1

    scene(body)


def test_config_entries_are_written_with_compare_and_set(scene, tmp_path):
    file = tmp_path / "web.hcl"
    file.write_text('kind = "service-defaults"\nname = "web"\nprotocol = "http"')
    which = ("-kind=service-defaults", "-name=web")

    async def body(cli: Cli, _api: Api) -> None:
        assert (await cli("config", "write", "-cas", str(file)))[0] == 0
        assert (await cli("config", "write", "-cas", str(file)))[0] == 1
        entry = json.loads((await cli("config", "read", *which))[1])
        assert entry["Protocol"] == "http"
        assert (await cli("config", "list", "-kind=service-defaults"))[1] == "web\n"
        index = f"-modify-index={entry['ModifyIndex']}"
        assert (await cli("config", "write", "-cas", index, str(file)))[0] == 0
        assert (await cli("config", "delete", *which, "-cas", "-modify-index=1"))[0] == 1
        assert (await cli("config", "delete", *which))[0] == 0
        code, _out, err = await cli("config", "read", *which)
        assert code == 1
        assert 'Config entry not found for "service-defaults" / "web"' in err

    scene(body)


def test_the_agent_and_its_servers_are_shown(scene, tmp_path):
    ca = tmp_path / "ca.hcl"
    ca.write_text('Provider = "consul"\nConfig { LeafCertTTL = "24h" }')

    async def body(cli: Cli, api: Api) -> None:
        await until(lambda: api.context.client.connected)
        assert "agent:\n\tcheck_monitors = 0\n" in (await cli("info"))[1]
        assert (await cli("operator", "raft", "list-peers"))[1].splitlines()[0].split()[0] == "Node"
        assert (await cli("catalog", "datacenters"))[1] == "dc1\n"
        assert json.loads((await cli("connect", "ca", "get-config"))[1])["Provider"] == "consul"
        assert (await cli("connect", "ca", "set-config", "-config-file", str(ca)))[:2] == (
            0,
            "Configuration updated!\n",
        )
        assert json.loads((await cli("connect", "ca", "get-config"))[1])["Config"]["LeafCertTTL"] == "24h0m0s"
        assert "serves no proxies" in (await cli("connect", "proxy", "-proxy-id=x"))[2]

    scene(body)
