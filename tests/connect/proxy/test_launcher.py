"""The launcher as a real process: forks, reports, survives, ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import uvloop

from chowk.connect.proxy.launcher_client import ExitCallback, LauncherClient
from chowk.core.errors import Unavailable
from support.mesh_rig import FakeAgent, MeshCA, client_snapshot, server_snapshot, start_launcher, until
from support.proxy_rig import App, free_port, refused, talk


def alive(pid: int) -> bool:
    """Zombies count as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"


async def connect(folder: Path, on_exit: ExitCallback | None = None) -> LauncherClient:
    """As soon as it listens: its socket has a name a moment before."""
    for _ in range(500):
        try:
            return await LauncherClient.connect(folder / "launcher.sock", on_exit)
        except Unavailable:
            await asyncio.sleep(0.01)
    raise AssertionError("no launcher")


class Host:
    """A launcher with a mesh of web → api on it; every process is ended with the `async with`."""

    def __init__(self, folder: Path, *, exit_with_parent: bool = False) -> None:
        self.folder = folder
        self.exit_with_parent = exit_with_parent
        self.agent = FakeAgent(folder / "proxies.sock", MeshCA())
        self.app = App()
        self.exits: list[tuple[str, int, int]] = []
        self.pids: list[int] = []
        self.upstream = free_port()

    async def __aenter__(self) -> Host:
        await self.agent.start()
        await self.app.start()
        self.process = start_launcher(self.folder, exit_with_parent=self.exit_with_parent)
        public = free_port()
        self.agent.publish(server_snapshot(self.agent.ca, "api", public, self.app.port))
        self.agent.publish(client_snapshot(self.agent.ca, "web", "api", self.upstream, [public]))
        self.client = await connect(self.folder, self.told)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.agent.close()
        self.app.server.close()
        for pid in [*self.pids, self.process.pid]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()

    def told(self, name: str, pid: int, status: int) -> None:
        self.exits.append((name, pid, status))

    async def launch(self, service: str) -> int:
        pid = await self.client.launch(f"{service}-proxy")
        self.pids.append(pid)
        return pid

    async def launch_both(self) -> tuple[int, int]:
        pids = await self.launch("api"), await self.launch("web")
        await self.works()
        return pids

    async def works(self) -> None:
        for _ in range(500):
            try:
                if await talk(self.upstream) == b"app:hello\nend":
                    return
            except OSError:
                pass
            await asyncio.sleep(0.01)
        raise AssertionError("the mesh does not carry")


def links_of(pid: int) -> list[str]:
    """What its open files are; one that it closes meanwhile is none."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return found


def test_forked_proxies_carry_and_their_ends_are_told(tmp_path):
    async def run():
        async with Host(tmp_path) as host:
            api, web = await host.launch_both()
            assert await host.launch("api") == api, "one that runs is not forked again"
            assert sorted(one.pid for one in await host.client.list()) == sorted((api, web))
            assert Path(f"/proc/{api}/comm").read_text().strip() == "chowk-proxy"
            links = links_of(api)
            listening = Path(f"/proc/{api}/net/unix").read_text()
            held = [row.split()[6] for row in listening.splitlines()[1:] if row.endswith(f"{tmp_path}/launcher.sock")]
            assert not [link for link in links for inode in held if inode in link], (
                "the launcher's sockets stay its own"
            )
            os.kill(api, signal.SIGKILL)
            await until(lambda: host.exits == [("api-proxy", api, -9)], "told")
            await until(lambda: state_of(api) == "gone", "reaped")
            await host.launch("api")
            await host.works()
            await host.client.stop("web-proxy")
            await until(lambda: ("web-proxy", web, 0) in host.exits, "drained and told")

    uvloop.run(run())


def test_a_proxy_that_was_told_to_stop_can_be_launched_again_at_once(tmp_path):
    async def run():
        async with Host(tmp_path) as host:
            _api, web = await host.launch_both()
            reader, writer = await asyncio.open_connection("127.0.0.1", host.upstream)
            writer.write(b"one\n")
            await reader.readexactly(8)
            await host.client.stop("web-proxy")
            assert await host.launch("web") != web
            await host.works()
            writer.write_eof()
            assert await reader.read() == b"end", "what was open ended in its own time"
            writer.close()

    uvloop.run(run())


def test_launcher_and_proxies_outlive_a_killed_agent(tmp_path):
    async def run():
        async with Host(tmp_path) as host:
            pids = await host.launch_both()
            await host.client.close()
            await host.agent.close()
            host.process.stdin.close()
            await host.works()
            host.agent.attached.clear()
            again = FakeAgent(tmp_path / "proxies.sock", host.agent.ca)
            again.snapshots = host.agent.snapshots
            host.agent = again
            await again.start()
            host.client = await connect(host.folder, host.told)
            await until(lambda: {attach.pid for attach in again.attached} == set(pids), "adopted", 2)
            assert {one.pid for one in await host.client.list()} == set(pids)

    uvloop.run(run())


@pytest.mark.parametrize("exit_with_parent", [False, True])
def test_proxies_outlive_a_killed_launcher_and_a_new_one_takes_its_socket(exit_with_parent, tmp_path):
    async def run():
        async with Host(tmp_path, exit_with_parent=exit_with_parent) as host:
            await host.launch_both()
            host.process.kill()
            host.process.wait()
            await until(lambda: host.client.closed, "noticed")
            with pytest.raises(Unavailable):
                await host.client.launch("x")
            host.process.stdin.close()
            await host.works()
            host.process = start_launcher(tmp_path, exit_with_parent=False)
            host.client = await connect(host.folder, host.told)
            assert await host.client.list() == ()

    uvloop.run(run())


@pytest.mark.parametrize("how", ["stdin ends", "SIGTERM", "asked"])
def test_the_end_takes_every_proxy_along(how, tmp_path):
    async def run():
        async with Host(tmp_path, exit_with_parent=True) as host:
            pids = await host.launch_both()
            if how == "SIGTERM":
                host.process.terminate()
            elif how == "asked":
                await asyncio.wait_for(host.client.shutdown(), 8)
            else:
                host.process.stdin.close()
            await until(lambda: not any(alive(pid) for pid in (*pids, host.process.pid)), "all ended", 8)
            assert await refused(host.upstream)

    uvloop.run(run())


def test_an_interrupt_at_the_terminal_ends_neither_launcher_nor_proxies(tmp_path):
    async def run():
        async with Host(tmp_path) as host:
            pids = await host.launch_both()
            for pid in (*pids, host.process.pid):
                os.kill(pid, signal.SIGINT)
            await host.works()
            assert len(await host.client.list()) == 2
            assert os.getsid(host.process.pid) == host.process.pid

    uvloop.run(run())


def test_garbage_and_unknown_operations_harm_no_launcher(tmp_path):
    async def run():
        async with Host(tmp_path) as host:
            for garbage in (b"\xff\xfe\n", b"[]\n", b"x" * 300_000, b'{"id": "text"}\n'):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(5)
                    sock.connect(str(tmp_path / "launcher.sock"))
                    try:
                        sock.sendall(garbage)
                        assert sock.recv(100) == b""
                    except OSError:
                        pass
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(str(tmp_path / "launcher.sock"))
                sock.sendall(b'{"id": 7, "op": "dance"}\n{"id": 8, "op": "launch"}\n')
                await asyncio.sleep(0)
                assert b"unknown operation" in sock.recv(1000)
            await host.launch_both()

    uvloop.run(run())


def test_proxies_end_with_a_killed_parent_even_when_their_launcher_was_killed_before(tmp_path):
    """The parent is a process of its own here, which starts the launcher and waits."""

    async def run():
        script = (
            "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
            "from support.mesh_rig import start_launcher\n"
            "launcher = start_launcher(Path(sys.argv[2]), exit_with_parent=True)\n"
            "print(launcher.pid, flush=True); launcher.wait(); time.sleep(60)\n"
        )
        agent = FakeAgent(tmp_path / "proxies.sock", MeshCA())
        await agent.start()
        tests = str(Path(__file__).resolve().parents[2])
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, tests, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        launcher = int(await parent.stdout.readline())
        port = free_port()
        agent.publish(server_snapshot(agent.ca, "api", port, 1))
        client = await connect(tmp_path)
        proxy = await client.launch("api-proxy")
        await until(lambda: agent.attached, "attached")
        os.kill(launcher, signal.SIGKILL)
        await until(lambda: client.closed, "launcher gone")
        assert alive(proxy)
        parent.kill()
        await parent.wait()
        await until(lambda: not alive(proxy), "the proxy ends with its agent", 5)
        await client.close()
        await agent.close()

    uvloop.run(run())
