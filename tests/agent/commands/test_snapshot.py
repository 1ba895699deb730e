"""`chowk snapshot` and the `operator` commands against the true API, before a true server room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chowk.cli import run as run_cli
from support.http_api import Api, with_registry

Cli = Callable[..., Awaitable[tuple[int, str, str]]]
Scene = Callable[[Callable[[Cli, Api], Awaitable[None]]], None]


@pytest.fixture
def scene(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Scene:
    def play(body: Callable[[Cli, Api], Awaitable[None]]) -> None:
        async def run(api: Api) -> None:
            monkeypatch.setenv("CHOWK_HTTP_ADDR", f"127.0.0.1:{api.http.port}")

            async def cli(*args: str) -> tuple[int, str, str]:
                capsys.readouterr()
                code = await asyncio.to_thread(run_cli, list(args))
                return code, *capsys.readouterr()

            await api.put("/v1/catalog/register", {"Node": "one", "Address": "127.0.0.1"})
            await body(cli, api)

        with_registry(tmp_path, run)

    return play


def test_saved_inspected_and_restored(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "out" / "backup.snap"
    file.parent.mkdir()

    async def body(cli: Cli, api: Api) -> None:
        made = await api.ask("POST", "/v1/query", json={"Name": "q", "Service": {"Service": "web"}})
        code, out, err = await cli("snapshot", "save", str(file))
        assert (code, err) == (0, ""), err
        assert out.startswith("Saved and verified snapshot to index ")
        assert [path.name for path in file.parent.iterdir()] == ["backup.snap"]
        assert file.stat().st_mode & 0o777 == 0o600
        code, out, _err = await cli("snapshot", "inspect", str(file))
        lines = [line.split() for line in out.splitlines()]
        assert [line[0] for line in lines[:5]] == ["ID", "Size", "Index", "Term", "Version"]
        assert ["Type", "Count", "Size"] in lines
        assert [line[:2] for line in lines if line[:1] == ["Node"]] == [["Node", "1"]]
        assert [line[:2] for line in lines if line[:1] == ["PreparedQuery"]] == [["PreparedQuery", "1"]]
        code, out, _err = await cli("snapshot", "inspect", "-format=json", str(file))
        assert json.loads(out)["Meta"]["Version"] == 1
        await api.put("/v1/catalog/register", {"Node": "two", "Address": "127.0.0.1"})
        await api.ask("DELETE", f"/v1/query/{made.json()['ID']}")
        code, out, _err = await cli("snapshot", "restore", str(file))
        assert (code, out.splitlines()[-1]) == (0, "Restored snapshot")
        assert [node["Node"] for node in (await api.get("/v1/catalog/nodes")).json()] == ["one"]
        assert (await api.get("/v1/query/q/execute")).status == 200

    scene(body)


def test_the_name_of_a_saved_file_can_say_where_it_is_from(scene: Scene, tmp_path: Path) -> None:
    from chowk import __version__

    async def body(cli: Cli, api: Api) -> None:
        own = (await api.get("/v1/agent/self")).json()["Config"]
        code, out, err = await cli("snapshot", "save", "-append-filename=node,version", str(tmp_path / "backup.snap"))
        assert (code, err) == (0, ""), err
        path = tmp_path / f"backup-{__version__}-{own['NodeName']}.snap"
        assert (path.is_file(), out.splitlines()[-1]) == (True, f"Saved to {path}")
        code, _out, err = await cli("snapshot", "save", "-append-filename=node,mood", str(tmp_path / "backup.snap"))
        assert (code, '"mood" is none of' in err) == (1, True)

    scene(body)


def test_a_damaged_file_is_refused_by_every_command_that_reads_it(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "backup.snap"

    async def body(cli: Cli, api: Api) -> None:
        assert (await cli("snapshot", "save", str(file)))[0] == 0
        file.write_bytes(file.read_bytes()[:-20])
        for command in ("restore", "inspect"):
            code, _out, err = await cli("snapshot", command, str(file))
            assert code == 1
            assert "cut short or damaged" in err
            assert (await cli("snapshot", command, str(tmp_path / "none")))[0] == 1
        assert [node["Node"] for node in (await api.get("/v1/catalog/nodes")).json()] == ["one"]

    scene(body)


def test_a_save_that_fails_leaves_the_file_that_was_there(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "backup.snap"
    file.write_text("the last good one")

    async def body(cli: Cli, api: Api) -> None:
        api.server.consensus.lead(False)
        code, _out, err = await cli("snapshot", "save", str(file))
        assert (code, file.read_text()) == (1, "the last good one")
        assert "No cluster leader" in err
        code, _out, err = await cli("snapshot", "save", "-stale", str(file))
        assert (code, err) == (0, ""), err
        assert [path.name for path in tmp_path.glob("*.snap*")] == ["backup.snap"]

    scene(body)


def test_autopilots_settings_and_state(scene: Scene) -> None:
    async def body(cli: Cli, _api: Api) -> None:
        code, out, _err = await cli("operator", "autopilot", "get-config")
        assert (code, out.splitlines()[:3]) == (
            0, ["CleanupDeadServers = true", "LastContactThreshold = 200ms", "MaxTrailingLogs = 250"]
        )  # fmt: skip
        changed = ("operator", "autopilot", "set-config", "-cleanup-dead-servers=false", "-min-quorum=3")
        assert (await cli(*changed))[:2] == (0, "Configuration updated!\n")
        out = (await cli("operator", "autopilot", "get-config"))[1]
        assert "CleanupDeadServers = false" in out
        assert "MinQuorum = 3" in out
        code, _out, err = await cli("operator", "autopilot", "set-config", "-min-quorum=3", "-cas=1")
        assert (code, "could not be atomically updated" in err) == (1, True)
        code, out, _err = await cli("operator", "autopilot", "state")
        assert code == 0
        assert "Failure Tolerance:" in out
        assert "Last Contact:" in out

    scene(body)


def test_members_of_raft_are_named_by_id_or_address(scene: Scene) -> None:
    async def body(cli: Cli, _api: Api) -> None:
        code, out, _err = await cli("operator", "raft", "list-peers")
        assert (code, out.splitlines()[1].split()[:6]) == (0, ["solo", "solo", "127.0.0.1:8300", "leader", "true", "3"])
        for flags in ((), ("-id=a", "-address=b")):
            code, _out, err = await cli("operator", "raft", "remove-peer", *flags)
            assert (code, "an address or an id is required" in err) == (1, True)
        code, _out, err = await cli("operator", "raft", "remove-peer", "-id=nobody")
        assert (code, 'id "nobody" was not found in the Raft configuration' in err) == (1, True)
        code, _out, err = await cli("operator", "raft", "transfer-leader")
        assert (code, "no other server" in err) == (1, True)

    scene(body)
