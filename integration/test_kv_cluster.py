"""Locks of a real cluster outlive their leader: who holds what, TTLs, lock-delays, and the locks of a host that dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.waiting import eventually

TTL_S = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("locks"), servers=3, clients=1) as made:
        yield made


def make_session(agent: AgentProcess, **fields: Any) -> str:
    return str(agent.put("/v1/session/create", {"LockDelay": "0s", **fields})["ID"])


def acquire(agent: AgentProcess, key: str, session: str) -> bool:
    return agent.put(f"/v1/kv/{key}?acquire={session}", "x") is True


def holder(agent: AgentProcess, key: str) -> str:
    return str(agent.get(f"/v1/kv/{key}?consistent")[0].get("Session", ""))


def sessions(agent: AgentProcess) -> set[str]:
    return {row["ID"] for row in agent.get("/v1/session/list?consistent")}


def test_locks_ttls_and_lock_delays_hold_through_the_death_of_the_leader(cluster: Cluster) -> None:
    leader = cluster.leader()
    first, second = (agent for agent in cluster.servers if agent is not leader)
    kept, other = make_session(first, TTL="10s"), make_session(second)
    forgotten, ended = make_session(first, TTL="10s"), make_session(first, LockDelay="8s")
    assert acquire(first, "kept", kept)
    assert acquire(first, "forgotten", forgotten)
    assert acquire(first, "delayed", ended)
    first.put(f"/v1/session/destroy/{ended}")
    delayed_at = time.monotonic()
    cluster.kill(leader)
    killed_at = time.monotonic()
    assert not acquire(second, "kept", other), "written through the new leader"
    print(f"the next write was acknowledged {time.monotonic() - killed_at:.2f} s after the kill")
    assert [holder(agent, "kept") for agent in (first, second)] == [kept, kept]

    while not acquire(second, "delayed", other):
        assert time.monotonic() - delayed_at < 12
        time.sleep(0.2)
    assert time.monotonic() - delayed_at > 7.5, "its lock-delay is kept by the new leader"

    assert forgotten in sessions(second), "a new leader gives it its whole TTL again"
    while forgotten in sessions(second):
        assert time.monotonic() - killed_at < 2 * TTL_S + 8
        assert first.put(f"/v1/session/renew/{kept}")[0]["ID"] == kept
        time.sleep(0.5)
    assert time.monotonic() - killed_at > TTL_S
    assert (holder(second, "forgotten"), holder(second, "kept")) == ("", kept)
    leader.start(wait=False)
    cluster.wait_ready()
    eventually(lambda: holder(leader, "kept") == kept, "the old leader knows who holds it")


def test_a_host_that_dies_lets_go_of_its_locks_when_its_health_turns(cluster: Cluster) -> None:
    victim, watcher = cluster["client1"], cluster["server1"]
    session = make_session(victim, Name="victim")
    assert watcher.get(f"/v1/session/info/{session}")[0]["Node"] == "client1"
    assert acquire(victim, "host", session)
    mine = make_session(watcher)
    assert not acquire(watcher, "host", mine)
    index = watcher.request("GET", "/v1/kv/host")[1]["X-Consul-Index"]
    cluster.kill(victim)
    began = time.monotonic()
    _status, headers, _body = watcher.request("GET", f"/v1/kv/host?index={index}&wait=20s", timeout_s=30)
    print(f"the lock of a dead host was let go after {time.monotonic() - began:.1f} s")
    assert headers["X-Consul-Index"] != index, "who waits for the lock is woken"
    assert holder(watcher, "host") == ""
    assert session not in sessions(watcher)
    health = {row["CheckID"]: row["Status"] for row in watcher.get("/v1/health/node/client1")}
    assert health["serfHealth"] == "critical"
    assert acquire(watcher, "host", mine)
    victim.start(wait=False)
    cluster.wait_ready()
