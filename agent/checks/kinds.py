"""From a definition to the check that serves it. Called by the scheduler. TTL and alias checks run nothing: not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import aiohttp

from chowk.agent.checks.grpc import GrpcCheck
from chowk.agent.checks.h2ping import H2PingCheck
from chowk.agent.checks.http import HttpCheck
from chowk.agent.checks.os_service import OsServiceCheck
from chowk.agent.checks.outcome import Check, Outcome, critical
from chowk.agent.checks.script import ScriptCheck, script_refusal
from chowk.agent.checks.tcp import TcpCheck
from chowk.agent.checks.udp import UdpCheck
from chowk.agent.config.model import ChecksConfig
from chowk.core.definitions import CheckDefinition

TIMEOUT_S: Final = 10.0
SCRIPT_TIMEOUT_S: Final = 30.0
SIMPLE: Final[dict[str, Callable[[CheckDefinition], Check]]] = {
    "tcp": TcpCheck,
    "grpc": GrpcCheck,
    "h2ping": H2PingCheck,
    "os_service": OsServiceCheck,
}
UDP_SHARE: Final = 0.9
"""Of its timeout, the part in which a UDP check listens: silence passes, so it must end before it is cut."""


class Refused:
    """A check that may not, or cannot, run here: critical, and it says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def run(self) -> Outcome:
        """Say why."""
        return critical(self._why)


def timeout_of(definition: CheckDefinition) -> float:
    """Seconds that a run may take."""
    return definition.timeout_s or (SCRIPT_TIMEOUT_S if definition.type == "script" else TIMEOUT_S)


def make_check(
    definition: CheckDefinition, source: str, config: ChecksConfig, session: aiohttp.ClientSession
) -> Check | None:
    """The check of a definition; None when its status comes from elsewhere (ttl, alias, maintenance)."""
    kind = definition.type
    if kind == "http":
        return HttpCheck(definition, session)
    if kind == "script":
        refusal = script_refusal(config, source)
        return Refused(refusal) if refusal else ScriptCheck(definition)
    if kind == "udp":
        return UdpCheck(definition, timeout_of(definition) * UDP_SHARE)
    if kind == "docker":
        return Refused("docker checks are not supported; use a script or an HTTP check")
    simple = SIMPLE.get(kind)
    return simple(definition) if simple is not None else None
