"""The agent's hold on the launcher process: starts it, or finds the one a killed agent left, and asks it to fork.

Without `exit_with_parent` the launcher is meant to outlive a killed agent, so it is no `agent.children.Child`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from chowk.connect.proxy.launcher_client import LauncherClient
from chowk.core.errors import ChowkError
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.proxies")
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 8.0


class Launching:
    """Made by the supervisor. Every method copes with a launcher that is dead: it starts another."""

    def __init__(
        self,
        *,
        control_socket: Path,
        launcher_socket: Path,
        log_level: str,
        log_json: bool,
        exit_with_parent: bool,
        leaf_folder: Path | None,
        on_exit: Callable[[str, int, int], None],
        clock: Clock,
    ) -> None:
        self._socket = launcher_socket
        self._options = {
            "control_socket": str(control_socket),
            "launcher_socket": str(launcher_socket),
            "log_level": log_level,
            "log_json": log_json,
            "exit_with_parent": exit_with_parent,
            "leaf_folder": str(leaf_folder or ""),
        }
        self._exit_with_parent = exit_with_parent
        self._on_exit = on_exit
        self._clock = clock
        self._client: LauncherClient | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False
        self._tasks = TaskOwner("launching")

    async def launch(self, proxy_id: str) -> int:
        """Fork a proxy; its pid, or 0 when that could not be done now (logged)."""
        try:
            client = await self._connected()
            return await client.launch(proxy_id)
        except (ChowkError, OSError) as error:
            log.error("cannot launch a sidecar", proxy=proxy_id, error=str(error))
            return 0

    async def stop(self, proxy_id: str) -> None:
        """Ask the launcher to end a proxy it forked."""
        try:
            if self._client is not None and not self._client.closed:
                await self._client.stop(proxy_id)
        except (ChowkError, OSError) as error:
            log.warning("cannot stop a sidecar", proxy=proxy_id, error=str(error))

    async def stop_all(self) -> None:
        """End every proxy and the launcher itself, also one that an agent before us left; returns when they have gone."""
        if self._client is None or self._client.closed:
            self._client = await self._dial()
        if self._client is None:
            await self._end_unreached()
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._client.shutdown()
                if self._process is not None:
                    await self._process.wait()
        except (TimeoutError, ChowkError, OSError) as error:
            log.warning("the proxy launcher does not stop; killing it", error=str(error))
            await self._kill()

    async def _kill(self) -> None:
        """End a launcher of ours that no longer answers, frozen say. Its proxies are told to end over their own streams."""
        process = self._process
        if process is not None and process.returncode is None:
            self._ending = True
            process.kill()
            await process.wait()

    async def _end_unreached(self) -> None:
        """End a launcher of ours that does not listen yet: nobody would ever ask it to end. It has forked nothing."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._ending = True
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            await self._kill()

    async def close(self) -> None:
        """Let go of the launcher; it lives on unless `stop_all` ended it."""
        if self._client is not None:
            await self._client.close()
            self._client = None
        await self._tasks.close()

    async def _connected(self) -> LauncherClient:
        if self._client is not None and not self._client.closed:
            return self._client
        client = await self._dial()
        if client is None:
            await self._start()
            deadline = self._clock.now() + START_TIMEOUT_S
            while client is None:
                if self._clock.now() > deadline:
                    raise ChowkError(f"the proxy launcher does not listen on {self._socket} after {START_TIMEOUT_S:g}s")
                await self._clock.sleep(0.01)
                client = await self._dial()
        self._client = client
        return client

    async def _dial(self) -> LauncherClient | None:
        try:
            return await LauncherClient.connect(self._socket, self._on_exit)
        except (ChowkError, OSError):
            return None

    async def _start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chowk.connect.proxy.launcher",
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        if process.stdin is None:
            raise ChowkError("the proxy launcher has no stdin")
        process.stdin.write(json.dumps(self._options).encode() + b"\n")
        await process.stdin.drain()
        if not self._exit_with_parent:
            process.stdin.close()
        self._tasks.spawn(self._reap(process), "reap")
        log.info("proxy launcher started", pid=process.pid)

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if status != 0 and not self._ending:
            log.error("the proxy launcher died; its proxies live on", status=status)
