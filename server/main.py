"""The server process: `python -m chowk.server.main`, a child of its agent.

Reads one JSON line of `ServerOptions` on stdin and says on stdout, in one JSON line, that it is ready or why it cannot be.
It stops cleanly when stdin ends (the agent is gone) and on SIGTERM; Ctrl-C goes to the agent, which stops it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import uvloop

from chowk.core import codec
from chowk.core.runtime import logging
from chowk.core.runtime.clock import Clock, SystemClock
from chowk.core.server_options import ServerOptions, ServerReport
from chowk.server.port import Consensus, StateMachine
from chowk.server.server import Server
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.server")
OPTIONS_BYTES_MAX: Final = 8 * 1024 * 1024
STOP_TIMEOUT_S: Final = 10.0
ConsensusMaker = Callable[[ServerOptions, StateMachine, Clock, random.Random], Consensus]


def main(make_consensus: ConsensusMaker) -> int:
    """Run a server until it is told to stop; the process's exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        line = sys.stdin.buffer.readline(OPTIONS_BYTES_MAX)
        options = msgspec.json.decode(line, type=ServerOptions)
        logging.configure(options.log_level, json=options.log_json, process="server")
    except ValueError as error:
        _report(ServerReport(error=f"the server's options cannot be read: {error}"))
        return 1
    return uvloop.run(_serve(options, make_consensus))


async def _serve(options: ServerOptions, make_consensus: ConsensusMaker) -> int:
    clock = SystemClock()
    rng = random.Random()
    machine = StoreMachine()
    stopping = _stop_signals()
    try:
        server = Server(options, machine, make_consensus(options, machine, clock, rng), clock, rng)
        await server.start()
    except (OSError, ValueError) as error:
        _report(ServerReport(error=str(error)))
        return 1
    _report(ServerReport(ready=True))
    log.info("server started", node=options.node_name, datacenter=options.datacenter, index=machine.store.index)
    reason = await stopping
    log.info("server stopping", reason=reason)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await server.stop()
    except TimeoutError:
        log.error("server did not stop in time", seconds=STOP_TIMEOUT_S)
        return 1
    return 0


def _stop_signals() -> asyncio.Future[str]:
    """Done when this process is to stop: why. The rest of stdin is read only for its end."""
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[str] = loop.create_future()

    def stop(reason: str) -> None:
        if not stopping.done():
            stopping.set_result(reason)

    def read_stdin() -> None:
        if not os.read(sys.stdin.fileno(), 65_536):
            loop.remove_reader(sys.stdin.fileno())
            stop("the agent is gone")

    loop.add_signal_handler(signal.SIGTERM, stop, "SIGTERM")
    loop.add_reader(sys.stdin.fileno(), read_stdin)
    return stopping


def _report(report: ServerReport) -> None:
    """An agent that no longer reads is no reason to fail: stdin's end says the same."""
    try:
        sys.stdout.buffer.write(codec.to_json(report) + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        log.warning("nobody reads this server's report", error=str(error))
