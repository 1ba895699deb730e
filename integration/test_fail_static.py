"""The control plane is gone: agents, servers, whole hosts. Traffic flows by what each sidecar last knew, and nobody signs.

A host's restart is played by killing every process of its agent, the launcher and the sidecars too, with SIGKILL.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from harness.app import HttpApp
from harness.hosts import Hosts, power_off, sidecar
from harness.mesh import refused
from harness.waiting import eventually


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
