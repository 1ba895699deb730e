"""The TCP check: a connection can be made; with `tcp_use_tls`, a TLS handshake too. Called by the scheduler."""

from __future__ import annotations

from chowk.agent.checks.dial import in_words, open_stream
from chowk.agent.checks.outcome import Outcome, critical, passing
from chowk.core.definitions import CheckDefinition


class TcpCheck:
    """Connects to `definition.tcp` and hangs up."""

    def __init__(self, definition: CheckDefinition) -> None:
        self._definition = definition

    async def run(self) -> Outcome:
        """Connect once."""
        target = self._definition.tcp
        try:
            _reader, writer = await open_stream(target, self._definition, tls=self._definition.tcp_use_tls)
        except (OSError, ValueError) as error:
            return critical(f"dial tcp {target}: {in_words(error)}")
        writer.transport.abort()
        return passing(f"TCP connect {target}: Success")
