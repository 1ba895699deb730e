"""The server process: `python -m chowk.server.main`, a child of its agent.

Reads one JSON line of `ServerOptions` on stdin and says on stdout, in one JSON line, that it is ready or why it cannot be.
It stops cleanly when stdin ends (the agent is gone) and on SIGTERM; Ctrl-C goes to the agent, which stops it.
"""

from __future__ import annotations

import asyncio
import gc
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
from chowk.server.consensus import make_consensus as make_raft
from chowk.server.port import Consensus, StateMachine
from chowk.server.server import Server
from chowk.server.state.machine import StoreMachine

log = structlog.get_logger("chowk.server")
OPTIONS_BYTES_MAX: Final = 8 * 1024 * 1024
STOP_TIMEOUT_S: Final = 10.0
FailureCallback = Callable[[BaseException], None]
ConsensusMaker = Callable[[ServerOptions, StateMachine, Clock, random.Random, FailureCallback], Consensus]


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
    stop = Stop()
    stop.listen()
    try:
        server = Server(options, machine, make_consensus(options, machine, clock, rng, stop.fail), clock, rng)
        await server.start()
    except (OSError, ValueError) as error:
        _report(ServerReport(error=str(error)))
        return 1
    # What is there now stays: the collector's full pass, which stops the loop, need not look at it again.
    gc.collect()
    gc.freeze()
    _report(ServerReport(ready=True))
    log.info("server started", node=options.node_name, datacenter=options.datacenter, index=machine.store.index)
    reason = await stop.reason
    log.info("server stopping", reason=reason)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await server.stop()
    except TimeoutError:
        log.error("server did not stop in time", seconds=STOP_TIMEOUT_S)
        return 1
    return 1 if stop.failed else 0


class Stop:
    """Why this process is to stop: a signal, the end of stdin (it is read for nothing else), or a disk that failed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reason: asyncio.Future[str] = self._loop.create_future()
        self.failed = False

    def listen(self) -> None:
        """Follow SIGTERM and stdin."""
        self._loop.add_signal_handler(signal.SIGTERM, self._ask, "SIGTERM")
        self._loop.add_reader(sys.stdin.fileno(), self._read_stdin)

    def fail(self, error: BaseException) -> None:
        """Nothing can be written any more: the agent must see that this was no wish of its own."""
        self.failed = True
        self._ask(str(error) or repr(error))

    def _ask(self, reason: str) -> None:
        if not self.reason.done():
            self.reason.set_result(reason)

    def _read_stdin(self) -> None:
        if not os.read(sys.stdin.fileno(), 65_536):
            self._loop.remove_reader(sys.stdin.fileno())
            self._ask("the agent is gone")


def _report(report: ServerReport) -> None:
    """An agent that no longer reads is no reason to fail: stdin's end says the same."""
    try:
        sys.stdout.buffer.write(codec.to_json(report) + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        log.warning("nobody reads this server's report", error=str(error))


if __name__ == "__main__":
    sys.exit(main(make_raft))
