"""The body of one proxy process. Called by the launcher in a fork, and by `chowk connect proxy`."""

from __future__ import annotations

import asyncio
import ctypes
import random
import signal
from pathlib import Path
from typing import Final

import structlog
import uvloop

from chowk.connect.proxy.proxy import Proxy
from chowk.core.runtime.clock import SystemClock

PROCESS_NAME: Final = b"chowk-proxy"
_PR_SET_NAME: Final = 15


def run_proxy(
    proxy_id: str,
    control_socket: Path,
    *,
    manual: bool,
    parent: int | None = None,
    leaf_folder: Path | None = None,
) -> None:
    """Serve as `proxy_id` until told to stop; returns then.

    SIGTERM stops it; SIGINT too when it is `manual`, while a launched one leaves Ctrl-C to its agent. `parent` is a
    pidfd: the end of that process stops the proxy as well. The leaf is kept in `leaf_folder` (None: in memory only).
    """
    ctypes.CDLL(None).prctl(_PR_SET_NAME, PROCESS_NAME, 0, 0, 0)
    structlog.contextvars.bind_contextvars(proxy=proxy_id)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(proxy_id, control_socket, manual, parent, leaf_folder))


async def _run(proxy_id: str, control_socket: Path, manual: bool, parent: int | None, leaf_folder: Path | None) -> None:
    proxy = Proxy(
        proxy_id,
        control_socket,
        manual=manual,
        clock=SystemClock(),
        rng=random.Random(),
        leaf_folder=leaf_folder,
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, proxy.stop, "SIGTERM")
    if manual:
        loop.add_signal_handler(signal.SIGINT, proxy.stop, "SIGINT")
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent is not None:
        loop.add_reader(parent, _parent_gone, loop, parent, proxy)
    await proxy.run()


def _parent_gone(loop: asyncio.AbstractEventLoop, parent: int, proxy: Proxy) -> None:
    loop.remove_reader(parent)
    proxy.stop("the agent is gone")
