"""The control plane is gone: agents, servers, whole hosts. Traffic flows by what each sidecar last knew, and nobody signs.

A host's restart is played by killing every process of its agent, the launcher and the sidecars too, with SIGKILL.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from datetime import timedelta
from pathlib import Path

from harness.app import HttpApp
from harness.clock import WallClock
from harness.hosts import Hosts, power_off, sidecar
from harness.mesh import refused
from harness.waiting import eventually

HTTP = """
config_entries { bootstrap = [
  { kind = "service-defaults", name = "api", protocol = "http" },
  {
    kind = "service-router", name = "api"
    routes = [ { match { http { path_prefix = "/moved" } }, destination { redirect { path = "/" } } } ]
  }
] }
"""


def test_hosts_that_restart_without_any_server_carry_traffic_by_their_last_snapshots(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        with hosts:
            hosts.lose_servers()
            assert hosts.flows()
            for agent in (hosts.here, hosts.there):
                power_off(agent)
            assert refused(hosts.upstream)
            for agent in (hosts.here, hosts.there):
                agent.start(wait=False)
            eventually(hosts.flows, f"by the last snapshot\n{hosts.here.log()}\n{hosts.there.log()}", 20)
            assert "no server answers: a sidecar serves by its last snapshot" in hosts.here.log_path.read_text()

            hosts.cluster["server1"].start(wait=False)
            hosts.cluster.wait_ready()
            assert (
                hosts.cluster["server1"].cli("intention", "create", "-replace", "-deny", "web", "api").returncode == 0
            )
            eventually(lambda: refused(hosts.upstream), "servers that are back are obeyed", 10)


def test_a_sidecar_that_dies_while_no_server_is_there_is_back_within_a_second(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        with hosts:
            hosts.lose_servers()
            pid = sidecar(hosts.there)
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            eventually(hosts.flows, f"it serves again\n{hosts.there.log()}", 5)
            assert sidecar(hosts.there) != pid
            assert time.monotonic() - killed < 1.0


def test_agents_that_die_and_come_back_without_servers_leave_their_sidecars_alone(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        with hosts:
            hosts.lose_servers()
            before = [sidecar(agent) for agent in (hosts.here, hosts.there)]
            for agent in (hosts.here, hosts.there):
                assert agent.process is not None
                agent.process.kill()
                agent.process.wait(10)
                assert hosts.flows()
            for agent in (hosts.here, hosts.there):
                agent.start(wait=False)
            ends = time.monotonic() + 5.0
            while time.monotonic() < ends:
                assert hosts.flows()
            assert [sidecar(agent) for agent in (hosts.here, hosts.there)] == before


def test_a_snapshot_that_was_cut_short_is_said_and_not_used(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        with hosts:
            hosts.lose_servers()
            power_off(hosts.here)
            [path] = hosts.kept(hosts.here)
            path.write_bytes(path.read_bytes()[:-40])
            hosts.here.start(wait=False)
            eventually(lambda: "last snapshot is damaged" in hosts.here.log_path.read_text(), "it is said", 15)
            assert refused(hosts.upstream)
            assert path.with_name(f"{path.name}.corrupt").exists()

            hosts.cluster["server1"].start(wait=False)
            hosts.cluster.wait_ready()
            eventually(hosts.flows, f"the servers give another\n{hosts.here.log()}", 20)


def test_without_kept_leaves_no_key_is_on_the_disk_and_a_restart_waits_for_who_signs(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api, "connect { keep_leaves = false }")
        with hosts:
            for agent in (hosts.here, hosts.there):
                held = [
                    path for path in agent.data_dir.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
                ]
                assert held == []
            hosts.lose_servers()
            power_off(hosts.here)
            hosts.here.start(wait=False)
            eventually(lambda: "leaf certificate not signed" in hosts.here.log_path.read_text(), "it asks", 20)
            assert refused(hosts.upstream)


def test_an_http_mesh_whose_hosts_restart_hours_after_its_servers_died_routes_as_before(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api, HTTP)
        for agent in hosts.cluster.agents.values():
            agent.prefix = clock.prefix
        with hosts:

            def routed() -> bool:
                with urllib.request.urlopen(f"http://127.0.0.1:{hosts.upstream}/moved/x", timeout=5) as reply:
                    return reply.url.endswith(f":{hosts.upstream}/") and reply.read() == b"api"

            eventually(routed, f"the router works\n{hosts.here.log()}", 20)
            eventually(lambda: b"/moved" in hosts.kept(hosts.here)[0].read_bytes(), "the router is on the disk", 40)
            hosts.lose_servers()
            for hours in (8, 30, 60):
                clock.set(timedelta(hours=hours))
                for agent in (hosts.here, hosts.there):
                    power_off(agent)
                assert refused(hosts.upstream)
                for agent in (hosts.here, hosts.there):
                    agent.start(wait=False)
                eventually(routed, f"after {hours} h\n{hosts.here.log()}\n{hosts.there.log()}", 20)
            eventually(lambda: "leaf certificate not signed" in hosts.here.log_path.read_text(), "nobody signs", 30)

            hosts.cluster["server1"].start(wait=False)
            hosts.cluster.wait_ready()
            assert (
                hosts.cluster["server1"].cli("intention", "create", "-replace", "-deny", "web", "api").returncode == 0
            )
            eventually(lambda: refused(hosts.upstream), "servers that are back are obeyed", 10)


def test_a_host_whose_clock_is_behind_refuses_certificates_of_tomorrow_says_so_and_recovers(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    ours, others = WallClock(tmp_path), WallClock(tmp_path / "others")
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        for agent in hosts.cluster.agents.values():
            agent.prefix = (ours if agent is hosts.here else others).prefix
        with hosts:
            others.set(timedelta(days=1))
            assert hosts.flows(), "what was signed before is good on both sides"
            done = hosts.cluster["server1"].cli("connect", "ca", "rotate", "-emergency")
            assert done.returncode == 0, done.stderr
            eventually(lambda: refused(hosts.upstream), f"leaves of tomorrow are refused\n{hosts.there.log()}", 60)
            eventually(lambda: "clock is behind" in hosts.here.log_path.read_text(), "and why", 60)
            ours.set(timedelta(days=1))
            eventually(hosts.flows, f"the clock was set\n{hosts.here.log()}", 60)
