"""The H2 ping check: the target answers an HTTP/2 PING. Called by the scheduler."""

from __future__ import annotations

from chowk.agent.checks.dial import in_words
from chowk.agent.checks.http2 import BadPeer, Exchange
from chowk.agent.checks.outcome import Outcome, critical, passing
from chowk.core.definitions import CheckDefinition


class H2PingCheck:
    """Pings `definition.h2ping`, over TLS unless `h2ping_use_tls` is false."""

    def __init__(self, definition: CheckDefinition) -> None:
        self._definition = definition

    async def run(self) -> Outcome:
        """Ping once."""
        try:
            async with Exchange(
                self._definition.h2ping, self._definition, tls=self._definition.h2ping_use_tls
            ) as exchange:
                await exchange.ping()
        except (OSError, ValueError, BadPeer) as error:
            return critical(f"HTTP2 ping failed. {self._definition.h2ping}: {in_words(error)}")
        return passing("HTTP2 ping was successful")
