"""The label leak: a release put an id of each request into a label, and the metrics' store filled with ten gigabytes a day.

It starts from applications that put whatever they like into requests, and from a pipeline that adds a route for each of its
releases. No word of a request becomes a label; routes have series of their own up to a bound, then one for all together,
and a counter says that it is so; nothing that was counted is lost.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually

REQUESTS = 600
RELEASES = 400
HTTP = 'config_entries { bootstrap = [{ kind = "service-defaults", name = "api", protocol = "http" }] }'


class Caller:
    """One connection of the application to its upstream; it counts what was answered."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.answered = 0

    def ask(self, path: str, method: str = "GET", **headers: str) -> None:
        self._connection.request(method, path, headers=headers)
        answer = self._connection.getresponse()
        answer.read()
        self.answered += 1


def metrics(agent: AgentProcess) -> str:
    """What Prometheus would scrape."""
    status, _headers, body = agent.request("GET", "/v1/agent/metrics?format=prometheus")
    assert status == 200
    return body.decode()


def series(agent: AgentProcess) -> dict[str, float]:
    """Every series of the mesh with its value."""
    lines = (line.rpartition(" ") for line in metrics(agent).splitlines() if line.startswith("chowk_mesh"))
    return {name: float(value) for name, _, value in lines}


def passed(found: dict[str, float]) -> float:
    """Requests that web's sidecar counted."""
    return sum(
        value
        for name, value in found.items()
        if name.startswith("chowk_mesh_requests_total{") and 'direction="outbound"' in name
    )


def counted(agent: AgentProcess, requests: float) -> dict[str, float]:
    """All series once that many requests are in them: no less, and no more."""
    return eventually(lambda: passed(found := series(agent)) == requests and found, f"{requests} requests are counted")


def test_what_requests_say_makes_no_series_and_a_route_for_each_release_makes_a_bounded_number(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream, HTTP)) as agent,
    ):
        eventually(lambda: fetch(upstream) == "api", f"HTTP passes\n{agent.log()}", 20)
        caller = Caller(upstream)
        for method in ("GET", "PURGE"):
            caller.ask("/", method)
        before = eventually(lambda: passed(found := series(agent)) >= 3 and found, "it is counted")
        first = passed(before) - caller.answered

        # An id in all that a request says.
        ids = [secrets.token_hex(16) for _ in range(REQUESTS)]
        for each in ids:
            caller.ask(
                f"/orders/{each}?trace={each}",
                "GET" if int(each, 16) % 2 else "PURGE",
                Host=f"{each}.example",
                traceparent=f"00-{each}-{each[:16]}-01",
                **{"X-Request-Id": each, "User-Agent": each},
            )
        after = counted(agent, first + caller.answered)
        assert set(after) == set(before), "not one series more"
        everything = metrics(agent) + json.dumps(agent.get("/v1/agent/traffic"))
        assert not [each for each in ids if each in everything]

        # A route for each release.
        routes = [{"Match": {"HTTP": {"PathPrefix": f"/r{number}/"}}} for number in range(RELEASES)]
        router = {"Kind": "service-router", "Name": "api", "Routes": routes}
        agent.put("/v1/config", router)
        last = f"/r{RELEASES - 1}/"
        eventually(
            lambda: caller.ask(last) or any(last in route_of(name) for name in series(agent)), "routes are known", 20
        )
        for number in range(RELEASES):
            caller.ask(f"/r{number}/")
        full = counted(agent, first + caller.answered)
        own = {label for name in full if (label := route_of(name))}
        assert len(own) <= 257
        assert "(other)" in own
        assert full["chowk_mesh_series_overflow_total"] > 0
        assert len(full) < 40 * 300

        # And again: it grows no further.
        for number in range(RELEASES):
            caller.ask(f"/r{number}/")
        again = counted(agent, first + caller.answered)
        assert {name for name in again if "le=" not in name} == {name for name in full if "le=" not in name}


def route_of(name: str) -> str:
    """The route of a series of web's requests."""
    found = re.search(r'^chowk_mesh_requests_total\{.*direction="outbound".*route="([^"]*)"', name)
    return found[1] if found else ""
