"""The control plane's certificate expired: renewal had failed, nobody watched, there was no way around, and all traffic
depended on it. Three hours without anything.

It starts from there: whoever signs is gone, for longer than a leaf lives. It is told long before; what is open goes on; a
bypass, with a reason and an end, lets calls through again without any server; servers that are back renew everything
without anybody's help. And when even the roots have ended, one command that needs none of them makes another.
"""

from __future__ import annotations

import http.client
import json
from datetime import timedelta
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.clock import WallClock
from harness.hosts import Hosts, power_off
from harness.mesh import refused
from harness.waiting import eventually

BYPASS_S = 12


def watchdog(agent: AgentProcess) -> str:
    """The status of the node's check of certificates; passing: there is none."""
    found = agent.get("/v1/agent/checks").get("chowk:certificates")
    return str(found["Status"]) if found else "passing"


def exit_code(agent: AgentProcess) -> int:
    return agent.cli("connect", "ca", "status").returncode


def all_well(agent: AgentProcess) -> bool:
    """Whether all certificates are; AssertionError with what is not."""
    done = agent.cli("connect", "ca", "status")
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
    return True


class Open:
    """A connection that the application opened before, and keeps."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self.works()

    def works(self) -> bool:
        self._connection.request("GET", "/")
        return self._connection.getresponse().read() == b"api"


def test_traffic_outlives_who_signs_and_people_are_told_and_have_ways_around(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        for agent in hosts.cluster.agents.values():
            agent.prefix = clock.prefix
        with hosts:
            server, both = hosts.cluster["server1"], (hosts.here, hosts.there)
            before = Open(hosts.upstream)
            assert [watchdog(agent) for agent in both] == ["passing"] * 2
            assert [exit_code(agent) for agent in both] == [0, 0]

            # Nobody signs any more. Hours before a leaf ends it is a warning, then critical; all the while traffic flows.
            power_off(server)
            for hours, status, code in ((60, "warning", 1), (70, "critical", 2)):
                clock.set(timedelta(hours=hours))
                for agent in both:
                    eventually(lambda: watchdog(agent) == status, f"{status} at {hours} h\n{agent.log()}", 30)  # noqa: B023
                    assert exit_code(agent) == code
                assert hosts.flows()
            assert "a certificate comes to its end" in hosts.here.log_path.read_text()
            metrics = hosts.here.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
            assert "chowk_leaf_certs_cert_expiry" in metrics

            # It has ended. What is open goes on; what is new waits for somebody to decide.
            clock.set(timedelta(hours=80))
            assert refused(hosts.upstream)
            assert before.works()
            reason = "INC-7: leaves ended, no server"
            for agent in both:
                done = agent.cli(
                    "connect", "bypass", "-service", "api", "-for", f"{BYPASS_S}s", "-reason", reason, "-host"
                )
                assert done.returncode == 0, done.stderr
            eventually(hosts.flows, f"it is let through\n{hosts.here.log()}\n{hosts.there.log()}", BYPASS_S / 2)
            assert all(reason in agent.log_path.read_text() for agent in both)
            eventually(lambda: refused(hosts.upstream), "it has ended by itself", 2 * BYPASS_S)

            # Servers that are back need nobody: leaves are signed, and everything is as before.
            server.start(wait=False)
            hosts.cluster.wait_ready(60)
            eventually(hosts.flows, f"new leaves\n{server.log()}\n{hosts.here.log()}", 60)
            for agent in both:
                eventually(lambda: watchdog(agent) == "passing", "and the watchdog is quiet", 30)  # noqa: B023

            # Everything has ended, the roots too. The way out needs none of what has ended.
            clock.set(timedelta(days=11 * 365))
            done = eventually(
                lambda: (done := server.cli("connect", "ca", "rotate", "-emergency")).returncode == 0 and done,
                f"another root\n{server.log()}",
                60,
            )
            assert done.stdout
            eventually(hosts.flows, f"signed by it\n{server.log()}\n{hosts.here.log()}\n{hosts.there.log()}", 60)
            for agent in both:
                eventually(lambda: all_well(agent), "all of it is told as well", 40)  # noqa: B023
            roots = json.loads(server.request("GET", "/v1/connect/ca/roots")[2])["Roots"]
            assert [root["Active"] for root in roots].count(True) == 1
