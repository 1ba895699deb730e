"""DNS workers of a real agent: killed, stopped, told anew, without a server; and what is left when the agent ends."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import dnslib
import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.counters import dns_counters
from harness.dig import dig
from harness.waiting import eventually

MODULE = "chowk.agent.workers.main"
WORKERS = 2
KILLS = 3
GAP_S = 1.0
HCL = """
services { id = "web-1", name = "web", port = 81, address = "127.0.1.1" }
services { id = "web-2", name = "web", port = 82, address = "127.0.1.2"
  check { id = "w2", ttl = "1h", status = "passing" } }
"""
WEB = ["127.0.1.1", "127.0.1.2"]


def configuration(dns: str = "") -> str:
    return f"dns_config {{ workers = {WORKERS} {dns} }}\n{HCL}"


def serving(agent: AgentProcess, count: int = WORKERS) -> None:
    """Wait until so many workers answer."""
    eventually(
        lambda: dns_counters(agent).get("chowk_dns_workers") == count, f"{count} workers answer\n{agent.log()}", 20
    )


def workers_of(agent: AgentProcess) -> list[int]:
    found = []
    for pid in agent.descendants():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if MODULE.encode() in command:
            found.append(pid)
    return found


def longest_wait_s(agent: AgentProcess, until: float, name: str = "web.service.consul") -> float:
    """The longest that one of many clients waited for an answer, until that time; a lost query is an error."""
    packet = bytes(dnslib.DNSRecord.question(name).pack())
    longest = 0.0
    while time.monotonic() < until:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            began = time.monotonic()
            udp.sendto(packet, ("127.0.0.1", agent.dns_port))
            assert dnslib.DNSRecord.parse(udp.recv(4096)).header.rcode == dnslib.RCODE.NOERROR
            longest = max(longest, time.monotonic() - began)
    return longest


@pytest.fixture
def agent(tmp_path: Path) -> AgentProcess:
    return AgentProcess(tmp_path, configuration())


def test_queries_are_answered_while_workers_are_killed_and_none_waits_for_the_next(agent: AgentProcess) -> None:
    with agent:
        serving(agent)
        before = dns_counters(agent)["chowk_dns_queries_total"]
        for _ in range(KILLS):
            victim = workers_of(agent)[0]
            os.kill(victim, signal.SIGKILL)
            assert longest_wait_s(agent, time.monotonic() + 0.5) < GAP_S
            assert dig(agent, "+tcp", "web.service.consul").data() == WEB
            serving(agent)
            assert victim not in workers_of(agent)
        counters = dns_counters(agent)
        assert counters["chowk_dns_worker_restarts_total"] == KILLS
        assert counters["chowk_dns_queries_total"] > before  # what the dead ones counted stays counted


def test_a_worker_that_hangs_is_killed_and_its_share_answered(agent: AgentProcess) -> None:
    with agent:
        serving(agent)
        stuck = workers_of(agent)[0]
        os.kill(stuck, signal.SIGSTOP)
        eventually(lambda: stuck not in workers_of(agent), "the stuck worker is replaced", 20)
        assert longest_wait_s(agent, time.monotonic() + 0.5) < GAP_S
        serving(agent)


def test_a_change_and_a_reload_reach_every_worker(agent: AgentProcess) -> None:
    with agent:
        serving(agent)
        agent.put("/v1/agent/check/warn/w2")
        agent.write("main.hcl", configuration(', only_passing = true, node_ttl = "9s"'))
        agent.put("/v1/agent/reload")
        for _ in range(3):
            eventually(
                lambda: all(dig(agent, "web.service.consul").data() == WEB[:1] for _ in range(8)),
                "all leave it out",
                10,
            )
        agent.put("/v1/agent/check/pass/w2")
        eventually(
            lambda: all(dig(agent, "web.service.consul").data() == WEB for _ in range(8)), "all have it again", 10
        )
        agent.write("main.hcl", f"dns_config {{ workers = 1 }}\n{HCL}")
        agent.put("/v1/agent/reload")
        assert "dns.workers" in agent.log()  # only a restart changes that
        assert len(workers_of(agent)) == WORKERS


def test_without_its_server_workers_answer_on_and_the_agent_for_one_that_dies_then(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, configuration(), dev=False) as agent:
        serving(agent)
        eventually(lambda: dig(agent, "web.service.consul").data() == WEB, "the service is known")
        longest_wait_s(agent, time.monotonic() + 0.5)  # both workers have seen it
        agent.get("/v1/health/service/web?cached")  # and so has the agent
        server = agent.child("chowk.server.main")
        os.kill(server, signal.SIGSTOP)
        try:
            os.kill(workers_of(agent)[0], signal.SIGKILL)
            assert longest_wait_s(agent, time.monotonic() + 2) < GAP_S
        finally:
            os.kill(server, signal.SIGCONT)
        serving(agent)


def test_a_clean_stop_leaves_no_process_and_frees_the_port(agent: AgentProcess) -> None:
    with agent:
        serving(agent)
        children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children") if agent.process else None
        assert children is not None

        def zombies() -> list[str]:
            stats = [Path(f"/proc/{pid}/stat").read_text() for pid in children.read_text().split()]
            return [stat for stat in stats if stat.rpartition(")")[2].split()[0] == "Z"]

        os.kill(workers_of(agent)[0], signal.SIGKILL)
        eventually(lambda: dns_counters(agent)["chowk_dns_worker_restarts_total"] == 1, "it was started again")
        serving(agent)
        assert zombies() == []
        assert agent.stop() == 0
        assert agent.descendants() == []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as free:
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind(("127.0.0.1", agent.dns_port))


def test_workers_end_with_an_agent_that_is_killed(agent: AgentProcess) -> None:
    with agent:
        serving(agent)
        agent.stop(signal.SIGKILL)
        eventually(lambda: workers_of(agent) == [], "they are gone")


def test_a_second_agent_finds_the_port_taken(agent: AgentProcess, tmp_path: Path) -> None:
    with agent:
        serving(agent)
        other = AgentProcess(tmp_path / "other", configuration())
        other.dns_port = agent.dns_port
        done = subprocess.run(other.arguments(), capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert f"port {agent.dns_port} on 127.0.0.1 is taken" in done.stderr


def test_workers_of_a_host_without_servers_go_to_those_of_the_cluster_also_by_a_new_key(tmp_path: Path) -> None:
    hcl = f"dns_config {{ workers = 1 }}\n{HCL}"
    with Cluster(tmp_path, servers=1, clients=1) as cluster:
        client = cluster["client1"]
        client.stop()
        client.write("main.hcl", f'retry_interval = "500ms"\n{hcl}')
        client.start()
        serving(client, 1)
        eventually(lambda: client.dig("web.service.consul") == WEB, "the worker answers what the servers know")
        key = base64.b64encode(os.urandom(32)).decode()
        for operation in (("-install", key), ("-use", key), ("-remove", cluster.key)):
            assert client.cli("keyring", *operation).returncode == 0
        os.kill(workers_of(client)[0], signal.SIGKILL)  # the next one has only the new key
        serving(client, 1)
        cluster["server1"].stop()
        cluster["server1"].start()  # a new connection, with the new key, of the worker that runs
        client.put("/v1/agent/check/warn/w2")
        client.put("/v1/agent/check/fail/w2")
        eventually(
            lambda: client.dig("web.service.consul") == WEB[:1], "the worker follows the server that is back", 30
        )
