"""Transactions and prepared queries of a real agent and a real cluster, as curl and dig see them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from harness.agent import AgentProcess
from harness.cluster import Cluster
from harness.raw_http import Answer, ask
from harness.waiting import eventually


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("queries"), dev=False) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("queries"), servers=3, clients=1) as made:
        yield made


def kv(verb: str, key: str, value: str = "", **fields: Any) -> dict[str, Any]:
    return {"KV": {"Verb": verb, "Key": key, "Value": b64encode(value.encode()).decode(), **fields}}


def txn(agent: AgentProcess, *operations: Any) -> Answer:
    return ask(agent, "PUT", "/v1/txn", json.dumps(operations).encode())


def dig(agent: AgentProcess, name: str, *options: str) -> list[str]:
    """The lines of the answer section, or the status where it is not NOERROR."""
    command = ["dig", f"@{agent.address}", "-p", str(agent.dns_port), "+tries=1", "+time=5", name, *options]
    out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    status = out.partition("status: ")[2].partition(",")[0]
    if status != "NOERROR":
        return [status]
    answers = out.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
    return [" ".join(line.split()) for line in answers.splitlines()]


def query(agent: AgentProcess, **definition: Any) -> str:
    answer = ask(agent, "POST", "/v1/query", json.dumps(definition).encode())
    assert answer.status == 200, answer
    return str(answer.json()["ID"])


def register(agent: AgentProcess, number: int, status: str = "passing") -> None:
    service = {"ID": f"web{number}", "Service": "web", "Port": 8000 + number, "Tags": ["v1"]}
    check = {"CheckID": f"check{number}", "ServiceID": f"web{number}", "Status": status}
    body = {"Node": f"far{number}", "Address": f"127.1.0.{number}", "Service": service, "Check": check}
    agent.put("/v1/catalog/register", body)


def test_a_transaction_wakes_those_who_wait_for_any_of_it_and_survives_a_kill(agent: AgentProcess) -> None:
    txn(agent, kv("set", "woken/a"))
    index = ask(agent, "GET", "/v1/kv/woken/a").index
    services = ask(agent, "GET", "/v1/health/service/woken").index
    answers: dict[str, Answer] = {}
    watched = {
        "a": f"/v1/kv/woken/a?index={index}&wait=15s",
        "web": f"/v1/health/service/woken?index={services}&wait=15s",
    }
    waiting = [
        threading.Thread(target=lambda name=name, path=path: answers.update({name: ask(agent, "GET", path)}))
        for name, path in watched.items()
    ]
    for thread in waiting:
        thread.start()
    node = {"Node": "woken-node", "Address": "127.1.0.9"}
    done = txn(
        agent,
        kv("cas", "woken/a", "2", Index=index),
        {"Node": {"Verb": "set", "Node": node}},
        {"Service": {"Verb": "set", "Node": "woken-node", "Service": {"Service": "woken"}}},
    )
    assert done.status == 200, done
    for thread in waiting:
        thread.join(20)
    assert b64decode(answers["a"].json()[0]["Value"]) == b"2"
    assert answers["web"].json()[0]["Node"]["Node"] == "woken-node"
    assert answers["a"].index == answers["web"].index == done.json()["Results"][0]["KV"]["ModifyIndex"]
    lost = txn(agent, kv("cas", "woken/a", "3", Index=index), kv("set", "woken/b"))
    assert (lost.status, lost.json()["Results"]) == (409, None)
    assert ask(agent, "GET", "/v1/kv/woken/b").status == 404
    for pid in agent.descendants():
        os.kill(pid, signal.SIGKILL)
    if agent.process is not None:
        agent.process.wait(10)
    agent.start()
    assert b64decode(agent.get("/v1/kv/woken/a")[0]["Value"]) == b"2"
    assert ask(agent, "GET", "/v1/kv/woken/b").status == 404
    assert agent.get("/v1/catalog/service/woken")


def test_dig_finds_what_a_query_picks(agent: AgentProcess) -> None:
    register(agent, 1)
    register(agent, 2, "critical")
    register(agent, 3, "warning")
    id = query(agent, Name="Find-web", Service={"Service": "web", "Tags": ["V1"]}, DNS={"TTL": "17s"})
    name = "find-web.query.consul"
    eventually(lambda: len(dig(agent, name)) == 2, "both are there")
    assert sorted(dig(agent, name)) == [f"{name}. 17 IN A 127.1.0.1", f"{name}. 17 IN A 127.1.0.3"]
    srv = sorted(dig(agent, "FIND-WEB.query.dc1.consul", "SRV", "+tcp"))
    assert [line.split()[1:] for line in srv] == [
        ["17", "IN", "SRV", "1", "1", "8001", "far1.node.dc1.consul."],
        ["17", "IN", "SRV", "1", "1", "8003", "far3.node.dc1.consul."],
    ]
    assert dig(agent, "_find-web._tcp.query.consul", "SRV")
    assert dig(agent, f"{id}.query.consul")
    assert dig(agent, name, "AAAA") == []
    assert dig(agent, "none.query.consul") == ["NXDOMAIN"]
    register(agent, 1, "critical")
    eventually(lambda: len(dig(agent, name)) == 1, "the change shows")
    agent.put(f"/v1/query/{id}", {"Name": "find-web", "Service": {"Service": "web", "OnlyPassing": True}})
    eventually(lambda: dig(agent, name) == ["NXDOMAIN"], "the query's change shows")
    ask(agent, "DELETE", f"/v1/query/{id}")
    eventually(lambda: dig(agent, f"{id}.query.consul") == ["NXDOMAIN"], "it is gone")


def test_a_catch_all_template_answers_every_service_and_no_others(agent: AgentProcess) -> None:
    register(agent, 4)
    template = {"Type": "name_prefix_match", "Regexp": r"^(.*)\.eu$"}
    query(agent, Template=template, Service={"Service": "${match(1)}"}, DNS={"TTL": "1s"})
    eventually(lambda: "web.eu.query.consul. 1 IN A 127.1.0.4" in dig(agent, "web.eu.query.consul"), "filled in")
    assert dig(agent, "nobody.eu.query.consul") == ["NXDOMAIN"]
    assert dig(agent, "web.query.consul") == ["NXDOMAIN"]


def test_every_agent_writes_and_reads_and_names_outlive_the_servers(cluster: Cluster) -> None:
    client, leader = cluster["client1"], cluster.leader()
    index = 0
    for number, each in enumerate(cluster.agents.values()):
        done = txn(each, kv("cas", "turn", str(number), Index=index), kv("get", "turn"))
        assert done.status == 200, done
        index = done.json()["Results"][0]["KV"]["ModifyIndex"]
        assert txn(each, kv("cas", "turn", "late", Index=1)).status == 409
    id = query(client, Name="q", Service={"Service": "web", "Near": "_agent"})
    register(client, 1)
    client.put("/v1/agent/service/register", {"ID": "mine", "Name": "web", "Port": 9000, "Tags": ["v1"]})
    mine = f"q.query.consul. 0 IN A {client.address}"
    for each in cluster.agents.values():
        eventually(lambda each=each: len(each.get("/v1/query/q/execute")["Nodes"]) == 2, f"{each.node} runs it")
        eventually(lambda each=each: len(dig(each, "q.query.consul")) == 2, f"{each.node} resolves it")
    assert client.get(f"/v1/query/{id}/execute")["Nodes"][0]["Service"]["ID"] == "mine"
    assert all(dig(client, "q.query.consul")[0] == mine for _ in range(8))

    cluster.kill(leader)
    done = txn(client, kv("cas", "turn", "after", Index=index), kv("get", "turn"))
    assert done.status == 200, "held until another leads, and done once"
    assert b64decode(done.json()["Results"][1]["KV"]["Value"]) == b"after"
    assert client.get("/v1/query/q/explain")["Query"]["ID"] == id
    for each in cluster.servers:
        if each in cluster.running:
            cluster.kill(each)
    assert dig(client, "q.query.consul")[0] == mine, "no server is left"
    assert len(dig(client, "q.query.consul", "SRV")) == 2
