"""The UDP check: nobody refuses a datagram (ICMP port unreachable) within the timeout. Called by the scheduler."""

from __future__ import annotations

import asyncio
import socket

from chowk.agent.checks.dial import in_words, split_target
from chowk.agent.checks.outcome import Outcome, critical, passing
from chowk.core.definitions import CheckDefinition


class UdpCheck:
    """Sends an empty datagram to `definition.udp` and listens for `listen_s`: an answer passes, and so does silence."""

    def __init__(self, definition: CheckDefinition, listen_s: float) -> None:
        self._target = definition.udp
        self._listen_s = listen_s

    async def run(self) -> Outcome:
        """Send once."""
        try:
            await self._ask()
        except (OSError, ValueError) as error:
            return critical(f"UDP connect {self._target}: {in_words(error)}")
        return passing(f"UDP connect {self._target}: Success")

    async def _ask(self) -> None:
        host, port = split_target(self._target)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _name, address = found[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setblocking(False)
            sock.connect(address)
            sock.send(b"")
            try:
                async with asyncio.timeout(self._listen_s):
                    await loop.sock_recv(sock, 1)
            except TimeoutError:
                return
