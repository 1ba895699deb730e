"""A DNS worker: `python -m chowk.agent.workers.main`, a child of its agent that answers DNS from views of its own.

It has its own connection to a server, and reads the sockets that the agent gave it once it knows which services there are:
until then, and after it died, the agent reads them. It ends when its stdin ends (the agent is gone) and on SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop

from chowk.agent.client.pool import ServerClient
from chowk.agent.lookup import ViewLookup
from chowk.agent.views.views import Views
from chowk.agent.workers.orders import Orders, Report, WorkerOptions
from chowk.core.errors import ChowkError
from chowk.core.events import NODES, QUERIES, SERVICES
from chowk.core.runtime import logging
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.rpc.endpoints import AGENT
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.tasks import TaskOwner
from chowk.dns.server import DnsServer
from chowk.dns.sockets import adopt_sockets

log = structlog.get_logger("chowk.dns")

REPORT_S: Final = 1.0
LINE_BYTES_MAX: Final = 8 * 1024 * 1024
READ_BYTES: Final = 65_536


class Worker:
    """One process's work, from `start` to `close`. ValueError when the options cannot be used."""

    def __init__(self, options: WorkerOptions) -> None:
        clock, rng, orders = SystemClock(), random.Random(), options.orders
        self._options = options
        self._clock = clock
        self._identity = ClusterIdentity(
            orders.keys, AGENT, options.node_id, options.node_name, options.datacenter, clock
        )
        path = Path(options.server_socket) if options.server_socket else None
        self._client = ServerClient(path, clock, rng, identity=self._identity)
        self._client.set_servers(orders.servers)
        self._views = Views(self._client, clock)
        self._lookup = ViewLookup(self._views, self._client, options.datacenter, clock)
        self._dns = DnsServer(self._lookup, orders.settings, options.node_name, options.datacenter, clock, rng)
        self._orders = orders
        self._serving = False
        self._tasks = TaskOwner("worker")

    async def start(self) -> None:
        """Begin; returns at once."""
        await self._client.start()
        await self._views.start()
        self._tasks.spawn(self._serve(), "serve")
        self._tasks.spawn(self._report(), "report")

    async def close(self) -> None:
        """Stop answering and let go of everything."""
        await self._tasks.close()
        await self._dns.close()
        await self._views.close()
        await self._client.close()

    def follow(self, orders: Orders) -> None:
        """Work by these from now on."""
        before, self._orders = self._orders, orders
        try:
            if orders.keys != before.keys:
                self._identity.set_keys(orders.keys)
            self._client.set_servers(orders.servers)
            if orders.log_level != before.log_level:
                logging.configure(orders.log_level, json=self._options.log_json, process="dns")
            if orders.settings != before.settings:
                self._dns.reload(orders.settings)
        except ValueError as error:
            log.error("a DNS worker cannot follow what it was told", error=str(error))

    async def _serve(self) -> None:
        """Listen once it is known what there is: until then the agent can answer better."""
        for kind in (SERVICES, NODES, QUERIES):
            while True:
                try:
                    await self._lookup.fetch(kind, "")
                    break
                except ChowkError as error:
                    log.debug("a DNS worker waits for a server", error=str(error))
        await self._dns.listen(adopt_sockets(self._options.udp, self._options.tcp))
        self._serving = True
        self._say()

    async def _report(self) -> None:
        while True:
            await self._clock.sleep(REPORT_S)
            self._say()

    def _say(self) -> None:
        _print(msgspec.json.encode(Report(pid=os.getpid(), serving=self._serving, stats=self._dns.stats())))


class Lines:
    """The lines of stdin: the first is waited for, the others come to `told`. Its end ends the worker."""

    def __init__(self) -> None:
        self._buffer = b""

    def first(self) -> bytes:
        """The first line; b"" at the end of stdin. ValueError when it is longer than LINE_BYTES_MAX."""
        while b"\n" not in self._buffer:
            data = os.read(sys.stdin.fileno(), READ_BYTES)
            if not data:
                return b""
            self._buffer += data
            if len(self._buffer) > LINE_BYTES_MAX:
                raise ValueError("the options are too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def more(self) -> list[bytes] | None:
        """The whole lines that came; None at the end of stdin."""
        data = os.read(sys.stdin.fileno(), READ_BYTES)
        if not data:
            return None
        self._buffer += data
        return self.waiting()

    def waiting(self) -> list[bytes]:
        """The whole lines that came with others before them."""
        *lines, self._buffer = self._buffer.split(b"\n")
        return lines


def main() -> int:
    """Run a worker until it is told to stop; the process's exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = Lines()
    try:
        options = msgspec.json.decode(lines.first(), type=WorkerOptions)
        logging.configure(options.orders.log_level, json=options.log_json, process="dns")
    except ValueError as error:
        _print(msgspec.json.encode({"error": f"the DNS worker's options cannot be read: {error}"}))
        return 1
    return uvloop.run(_work(options, lines))


async def _work(options: WorkerOptions, lines: Lines) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    try:
        worker = Worker(options)
    except ValueError as error:
        _print(msgspec.json.encode({"error": str(error)}))
        return 1

    def hear() -> None:
        told = lines.more()
        if told is None:
            loop.remove_reader(sys.stdin.fileno())
            stopping.set()
            return
        obey(told)

    def obey(told: list[bytes]) -> None:
        for line in told:
            worker.follow(msgspec.json.decode(line, type=Orders))

    obey(lines.waiting())
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_reader(sys.stdin.fileno(), hear)
    await worker.start()
    gc.collect()
    gc.freeze()
    _print(b'{"ready":true}')
    await stopping.wait()
    await worker.close()
    return 0


def _print(line: bytes) -> None:
    """An agent that no longer reads is no reason to fail: stdin's end says the same."""
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        log.debug("nobody reads this worker's report", error=str(error))


if __name__ == "__main__":
    sys.exit(main())
