"""One HTTP request whose path goes out as it is written, which urllib does not promise. Called by tests of keys."""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple

from harness.agent import AgentProcess


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        return int(self.headers["X-Consul-Index"])


def ask(agent: AgentProcess, method: str, path: str, body: bytes | None = None, timeout_s: float = 20.0) -> Answer:
    """Ask the agent; an error status is an answer too."""
    connection = http.client.HTTPConnection(agent.address, agent.http_port, timeout=timeout_s)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return Answer(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        connection.close()
