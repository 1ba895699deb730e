"""The HTTP API over a real server room, on a loop in a thread of its own: for clients that block."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from chowk.agent.api.routes import ROUTES
from support.agent_api import Syncs
from support.http_api import running_api
from support.server_rig import running_server


@contextmanager
def api_in_thread(path: Path) -> Iterator[str]:
    """The URL of an API whose registry is empty."""
    ready, loop, stop = Event(), asyncio.new_event_loop(), asyncio.Event()
    port: list[int] = []

    async def serve() -> None:
        async with running_server(path) as rig, running_api(path, rig, None, ROUTES) as api:
            api.context.syncer = Syncs()
            port.append(api.http.port)
            ready.set()
            await stop.wait()

    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        if not ready.wait(20):
            raise RuntimeError("the API did not start")
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
