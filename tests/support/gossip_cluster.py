"""Real gossip drivers on addresses of the loopback net, in one process, with fast timing. Used by tests of the driver."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import uvloop

from chowk.agent.gossip.driver import Gossip, GossipOptions
from chowk.agent.gossip.keyring import Keyring
from chowk.agent.gossip.settings import Settings
from chowk.core.runtime.clock import Clock, SystemClock

KEY = b"k" * 32
FAST = Settings(
    probe_interval_s=0.06,
    probe_timeout_s=0.03,
    gossip_interval_s=0.02,
    push_pull_interval_s=0.5,
    reconnect_interval_s=0.3,
    leave_spread_s=0.05,
)


def node_id(name: str) -> str:
    """The same UUID for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def make(name: str, *, settings: Settings = FAST, clock: Clock | None = None, **more: Any) -> Gossip:
    """A driver named `name` on a free port of 127.0.0.1; `more`: keys, id, tags, data_dir, and fields of GossipOptions."""
    keys = more.pop("keys", (KEY,))
    tags = {"role": "node", "dc": settings.datacenter, "id": more.pop("id", node_id(name)), **more.pop("tags", {})}
    data_dir: Path | None = more.pop("data_dir", None)
    services = more.pop("services", tuple)
    keyring = more.pop("keyring", None) or Keyring(keys)
    options = GossipOptions(**{"port": 0, "retry_interval_s": 0.1, **more})
    return Gossip(name, tags, options, settings, keyring, clock or SystemClock(), Random(name), data_dir, services)


def address(gossip: Gossip) -> str:
    """Where it can be joined."""
    return f"{gossip.options.advertise_addr}:{gossip.port}"


@asynccontextmanager
async def running(*gossips: Gossip, joined: bool = True) -> AsyncIterator[None]:
    """Start them, let all join the first, and close them at the end."""
    started = []
    try:
        for gossip in gossips:
            await gossip.start()
            started.append(gossip)
            if joined and gossip is not gossips[0]:
                await gossip.join([address(gossips[0])])
        if joined:
            names = [gossip.name for gossip in gossips]
            for gossip in gossips:
                await until(gossip, lambda gossip=gossip: [one.name for one in gossip.members()] == sorted(names))
        yield
    finally:
        for gossip in started:
            await gossip.close()


async def until(gossip: Gossip, condition: Callable[[], bool], timeout_s: float = 15) -> None:
    """Wait for a change of its members after which `condition` holds."""
    changed = asyncio.Event()
    forget = gossip.changed.add(lambda _: changed.set())
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await changed.wait()
                changed.clear()
    except TimeoutError:
        raise AssertionError(f"{gossip.name} sees {gossip.members()}") from None
    finally:
        forget()


def status(gossip: Gossip, name: str) -> str:
    """How it sees another; "" when it does not know it."""
    return next((one.status for one in gossip.members() if one.name == name), "")


def run(body: Callable[[], Awaitable[None]]) -> None:
    """Run a test on the event loop of the product, for 30 s at most."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(body(), 30))
