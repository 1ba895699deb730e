"""`rtt` against a real HTTP server: Consul's words and figures."""

from __future__ import annotations

import pytest


def row(node: str, first: float, **more: float) -> dict:
    return {
        "Node": node,
        "Segment": "",
        "Coord": {"Vec": [first] + [0.0] * 7, "Error": 1.5, "Adjustment": 0.0, "Height": 0.0, **more},
    }


def servers(datacenter: str, area: str, *rows: dict) -> dict:
    return {"Datacenter": datacenter, "AreaID": area, "Coordinates": list(rows)}


@pytest.fixture
def nodes(agent):
    agent.on(
        "GET",
        "/v1/coordinate/nodes",
        [row("n1", 0.001), row("n2", 0.0005, Height=0.0001), row("near", 0.001, Adjustment=-1.0)],
    )
    agent.on("GET", "/v1/agent/self", {"Config": {"NodeName": "n2", "Datacenter": "dc1"}})


def test_the_time_between_two_nodes_and_from_one_to_the_agents_own(nodes, run):
    line = "Estimated n1 <-> n2 rtt: 0.600 ms (using LAN coordinates)\n"
    assert run("rtt", "n1", "n2")[:2] == (0, line)
    assert run("rtt", "n1")[:2] == (0, line)
    assert run("rtt", "n1", "near")[1] == "Estimated n1 <-> near rtt: 0.000 ms (using LAN coordinates)\n"


def test_a_node_without_a_coordinate_is_named(nodes, run):
    code, out, err = run("rtt", "n1", "lost")
    assert (code, out) == (1, "")
    assert 'Could not find a coordinate for node "lost"' in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "One or two node names"),
        (("a", "b", "c"), "One or two node names"),
        (("-wan", "a", "b.dc1"), "<node name>.<datacenter>"),
    ],
)
def test_wrong_arguments_are_told(nodes, run, arguments, words):
    code, _out, err = run("rtt", *arguments)
    assert code == 1
    assert words in err


def test_servers_are_named_with_their_datacenter_and_compared_within_one_area(agent, nodes, run):
    far = servers("dc2", "wan", row("s2", 0.011))
    agent.on(
        "GET",
        "/v1/coordinate/datacenters",
        [servers("dc1", "lan", row("s1", 1.0)), servers("dc1", "wan", row("s1", 0.001)), far],
    )
    assert (
        run("rtt", "-wan", "s1.dc1", "s2.dc2")[1]
        == "Estimated s1.dc1 <-> s2.dc2 rtt: 10.000 ms (using WAN coordinates)\n"
    )
    assert run("rtt", "-wan", "s1.dc1", "s1.dc1")[0] == 0
    assert "n2.dc1" in run("rtt", "-wan", "s1.dc1")[2]
    agent.on("GET", "/v1/coordinate/datacenters", [servers("dc1", "lan", row("s1", 1.0)), far])
    code, _out, err = run("rtt", "-wan", "s1.dc1", "s2.dc2")
    assert code == 1
    assert "no area together" in err


def test_an_answer_that_makes_no_sense_is_an_error_and_no_trace(agent, run):
    agent.on("GET", "/v1/coordinate/nodes", [{"Node": "n1", "Coord": {"Vec": "x"}}])
    code, _out, err = run("rtt", "n1", "n2")
    assert code == 1
    assert "Error getting coordinates" in err
    agent.on("GET", "/v1/coordinate/nodes", [row("n1", 0.0), {"Node": "n2", "Coord": {"Vec": [1.0]}}])
    assert 'node "n2"' in run("rtt", "n1", "n2")[2]
