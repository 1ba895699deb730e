"""The server as a process: ready line, clean stops, and kill -9 in the middle of writes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chowk.core.commands import Register
from chowk.core.errors import ChowkError
from chowk.core.events import NODES, Topic
from chowk.core.records.node import Node
from chowk.core.requests import (
    CA_ROOTS,
    CATALOG_NODES,
    CATALOG_WRITE,
    SUBSCRIBE,
    QueryOptions,
    Read,
    SubscribeRequest,
    Write,
)
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.listener import dial_unix

NODE_ID = "11111111-2222-4333-8444-555555555555"


def start(folder: Path, data_dir: Path | str = "", **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "chowk.server.main"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    settings = {
        "node_id": NODE_ID,
        "node_name": "solo",
        "socket_path": str(folder / "server.sock"),
        "data_dir": str(data_dir),
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps({**settings, **options}).encode() + b"\n")
    process.stdin.flush()
    return process


def report(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=10)


async def write_until_killed(client: RpcConnection, process: subprocess.Popen[bytes], name: str) -> list[str]:
    acknowledged: list[str] = []

    async def writer(lane: int) -> None:
        for number in range(10_000):
            node = f"{name}-{lane}-{number}"
            command = Register(node=Node(node=node, address="127.0.0.1"))
            await client.call(
                CATALOG_WRITE, Write(command=command, client=f"{name}{lane}", sequence=number), timeout_s=5
            )
            acknowledged.append(node)
            if len(acknowledged) == 60:
                process.send_signal(signal.SIGKILL)

    results = await asyncio.gather(*(writer(lane) for lane in range(8)), return_exceptions=True)
    assert all(isinstance(result, ChowkError) for result in results)
    return acknowledged


async def active_root(client: RpcConnection) -> str:
    """The active root, waited for by blocking queries."""
    options = QueryOptions()
    while True:
        reply = await client.call(CA_ROOTS, Read(options=options), timeout_s=10)
        if reply.roots.active_root_id:
            return reply.roots.active_root_id
        options = QueryOptions(min_index=reply.meta.index, max_wait_s=5)


SNAPSHOTS_ALL_THE_TIME = {"snapshot_threshold": 20, "snapshot_interval_s": 0.0, "trailing_logs": 5}


@pytest.mark.parametrize("tuning", [{}, SNAPSHOTS_ALL_THE_TIME], ids=["log", "snapshots"])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed_during_writes(
    tmp_path: Path, tuning: dict[str, Any]
) -> None:
    acknowledged: list[str] = []
    roots = set()
    for life in range(3):
        process = start(tmp_path, tmp_path, raft=tuning)
        try:
            assert report(process) == {"ready": True}

            async def scene(name: str, process: subprocess.Popen[bytes]) -> None:
                client = await dial_unix(tmp_path / "server.sock")
                known = {node.node for node in (await client.call(CATALOG_NODES, Read(), timeout_s=5)).nodes}
                assert set(acknowledged) <= known
                roots.add(await active_root(client))
                acknowledged.extend(await write_until_killed(client, process, name))
                await client.close()

            asyncio.run(scene(f"life{life}", process))
        finally:
            end(process)
    assert len(acknowledged) >= 180
    assert len(roots) == 1, "the CA made another root though its key was there"
    snapshots = [path for path in (tmp_path / "server" / "raft").rglob("*") if "snap" in path.name]
    assert bool(tuning) == bool([path for path in snapshots if path.is_file()])
    keys = list((tmp_path / "server" / "ca").iterdir())
    assert [path.stat().st_mode & 0o777 for path in keys] == [0o600]


@pytest.mark.parametrize("how", ["sigterm", "stdin"])
def test_it_stops_cleanly_when_told_or_when_the_agent_is_gone(tmp_path: Path, how: str) -> None:
    process = start(tmp_path)
    try:
        assert report(process) == {"ready": True}
        process.send_signal(signal.SIGINT)
        assert process.poll() is None
        if how == "sigterm":
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        else:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=10) == 0
        assert not (tmp_path / "server.sock").exists()
    finally:
        process.kill()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def test_it_says_why_it_cannot_start(tmp_path: Path) -> None:
    first = start(tmp_path)
    try:
        assert report(first) == {"ready": True}
        second = start(tmp_path)
        try:
            assert "another process listens" in report(second)["error"]
            assert second.wait(timeout=10) == 1
        finally:
            end(second)
    finally:
        end(first)
    third = start(tmp_path, log_level="loud")
    try:
        assert "unknown log level" in report(third)["error"]
        assert third.wait(timeout=10) == 1
    finally:
        end(third)


def test_a_folder_that_another_server_holds_or_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    first = start(tmp_path, tmp_path)
    try:
        assert report(first) == {"ready": True}
        second = start(tmp_path / "elsewhere", tmp_path)
        try:
            assert str(tmp_path / "server") in report(second)["error"]
            assert second.wait(timeout=10) == 1
        finally:
            end(second)
    finally:
        end(first)
    (tmp_path / "file").write_text("")
    third = start(tmp_path, tmp_path / "file")
    try:
        assert str(tmp_path / "file") in report(third)["error"]
        assert third.wait(timeout=10) == 1
    finally:
        end(third)


def test_a_stop_in_the_middle_of_streams_and_blocking_queries_is_quick_and_clean(tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path)
    try:
        assert report(process) == {"ready": True}

        async def scene() -> None:
            client = await dial_unix(tmp_path / "server.sock")
            stream = client.stream(SUBSCRIBE, SubscribeRequest(topic=Topic(kind=NODES)))
            await anext(stream)
            index = (await client.call(CATALOG_NODES, Read(), timeout_s=5)).meta.index
            options = QueryOptions(min_index=index, max_wait_s=60)
            blocked = asyncio.ensure_future(client.call(CATALOG_NODES, Read(options=options), timeout_s=60))
            await client.call(CA_ROOTS, Read(), timeout_s=5)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ChowkError):
                await blocked
            await client.close()

        asyncio.run(scene())
        assert process.wait(timeout=5) == 0
    finally:
        end(process)
