"""Sends the agent's metrics to statsd each SEND_S. Started by boot when the configuration names an address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from prometheus_client.metrics_core import Metric

from chowk.agent.telemetry.statsd import Lines, packets
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.telemetry")
SEND_S: Final = 10.0


class _Ignored(asyncio.DatagramProtocol):
    """Statsd says nothing; that nobody listens comes as an error here, and is no trouble of ours."""


class StatsdSender:
    """`host` and `port` of a statsd; with `tags` of a DogStatsD. `families` are asked each time."""

    def __init__(
        self,
        host: str,
        port: int,
        tags: tuple[str, ...] | None,
        families: Callable[[], Awaitable[Sequence[Metric]]],
        clock: Clock,
    ) -> None:
        self._address = (host, port)
        self._lines = Lines(tags)
        self._families = families
        self._clock = clock
        self._tasks = TaskOwner("statsd")
        self._fault = ""

    async def start(self) -> None:
        """Begin to send."""
        self._tasks.spawn(self._run(), "send")

    async def close(self) -> None:
        """Send no more."""
        await self._tasks.close()

    async def _run(self) -> None:
        while True:
            try:
                await self.send()
                self._fault = ""
            except (OSError, UnicodeError) as error:  # the latter of a name that no resolver can be asked
                if str(error) != self._fault:
                    log.warning("metrics cannot be sent", to="{}:{}".format(*self._address), error=str(error))
                self._fault = str(error)
            await self._clock.sleep(SEND_S)

    async def send(self) -> None:
        """Send what there is now; the name is looked up each time. OSError."""
        families = await self._families()
        transport, _protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            _Ignored, remote_addr=self._address
        )
        try:
            for packet in packets(self._lines.of(families)):
                transport.sendto(packet)
        finally:
            transport.close()
