"""Coordinates converge to what they estimate, over loss and noise; and nothing that others say makes them nonsense."""

from __future__ import annotations

import math
import random
import statistics
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chowk.agent.gossip.codec import encode_message
from chowk.agent.gossip.coordinates import RTT_S_MAX, WIRE_BYTES, Coordinates, from_wire, to_wire
from chowk.agent.gossip.messages import Ack
from chowk.agent.gossip.settings import MAX_DATAGRAM_BYTES, Settings
from chowk.core.records.coordinate import ERROR_MAX, HEIGHT_S_MIN, PART_S_MAX, Coordinate
from support.gossip_sim import GossipCluster, agent_member

CITIES = ((0.0, 0.0), (0.012, 0.004), (0.045, -0.02), (-0.03, 0.06), (0.09, 0.05))
"""Where a made-up network's datacenters are, in seconds of round-trip time."""


def matrix(count: int, rng: random.Random) -> list[list[float]]:
    """Round-trip times in seconds: by city, with a last mile of its own for each node, and a detour for each path."""
    places = [CITIES[number % len(CITIES)] for number in range(count)]
    mile = [rng.uniform(0.0002, 0.003) for _ in range(count)]
    times = [[0.0] * count for _ in range(count)]
    for one in range(count):
        for other in range(one):
            direct = math.dist(places[one], places[other]) * rng.uniform(1.0, 1.1) + mile[one] + mile[other]
            times[one][other] = times[other][one] = direct
    return times


def off_by(nodes: list[Coordinates], times: list[list[float]]) -> list[float]:
    """How far each estimate is off, as a part of the true time."""
    pairs = ((one, other) for one in range(len(nodes)) for other in range(one))
    return [abs(nodes[one].own.rtt_s(nodes[other].own) - times[one][other]) / times[one][other] for one, other in pairs]


@pytest.mark.parametrize(
    ("drop", "jitter", "outliers", "rounds", "median_max"),
    [(0.0, 0.0, 0.0, 300, 0.05), (0.3, 0.1, 0.0, 300, 0.13), (0.3, 0.1, 0.02, 1000, 0.17)],
    ids=["a quiet network", "one that drops and jitters", "one where some answers take twenty times as long"],
)
@pytest.mark.parametrize("seed", range(2))
def test_estimates_converge_to_the_times_of_a_made_up_network(
    seed: int, drop: float, jitter: float, outliers: float, rounds: int, median_max: float
) -> None:
    rng = random.Random(seed)
    times = matrix(40, rng)
    nodes = [Coordinates(random.Random(rng.random())) for _ in times]
    for _ in range(rounds):
        for number, node in enumerate(nodes):
            other = rng.randrange(len(nodes))
            if other == number or rng.random() < drop:
                continue
            rtt_s = times[number][other] * (1 + jitter * rng.expovariate(1.0)) * (20 if rng.random() < outliers else 1)
            node.observe(str(other), nodes[other].wire, rtt_s)
    found = off_by(nodes, times)
    assert statistics.median(found) < median_max
    assert statistics.median(node.own.error for node in nodes) < 0.5


def test_one_slow_answer_hardly_moves_who_has_settled() -> None:
    rng = random.Random(1)
    one, two = Coordinates(rng), Coordinates(rng)
    for _ in range(200):
        one.observe("two", two.wire, 0.02)
        two.observe("one", one.wire, 0.02)
    assert one.own.rtt_s(two.own) == pytest.approx(0.02, rel=0.05)
    one.observe("two", two.wire, 5.0)
    assert one.own.rtt_s(two.own) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("rtt_s", [-0.001, math.nan, math.inf, RTT_S_MAX * 1.01])
def test_a_time_that_cannot_be_has_no_effect(rtt_s: float) -> None:
    node = Coordinates(random.Random(1))
    assert not node.observe("x", to_wire(Coordinate()), rtt_s)
    assert node.own == Coordinate()


parts = st.floats(width=32) | st.sampled_from((PART_S_MAX, -PART_S_MAX, 1e-30, 3e38))


@given(
    st.lists(st.tuples(st.lists(parts, min_size=11, max_size=11), st.floats(0, RTT_S_MAX)), max_size=30), st.integers()
)
def test_whatever_others_say_our_own_stays_valid(said: list[tuple[list[float], float]], seed: int) -> None:
    node = Coordinates(random.Random(seed))
    for numbers, rtt_s in said:
        node.observe("x", struct.pack(">11f", *numbers), rtt_s)
        assert node.own.problem == ""
        assert 0 <= node.own.error <= ERROR_MAX
        assert node.own.height >= HEIGHT_S_MIN
        assert from_wire(node.wire) is not None


@given(st.binary(max_size=2 * WIRE_BYTES))
def test_any_bytes_are_a_valid_coordinate_or_none(data: bytes) -> None:
    found = from_wire(data)
    assert found is None or (found.problem == "" and len(data) == WIRE_BYTES)


def test_a_coordinate_costs_a_probe_under_fifty_bytes() -> None:
    assert len(encode_message(Ack(1, to_wire(Coordinate())))) - len(encode_message(Ack(1))) < 50


class Spread(GossipCluster):
    """Each way between two of its nodes takes half of their round-trip time, and a little noise."""

    times: dict[tuple[str, str], float]

    def _send(self, node, effect):  # type: ignore[no-untyped-def]
        half = self.times[(node.address[0], effect.address[0])] / 2
        self.delay = (half, half * 1.05)
        super()._send(node, effect)
        self.delay = (0.0005, 0.001)


def test_the_agents_of_a_cluster_learn_where_they_are_by_their_probes_alone() -> None:
    rng = random.Random(9)
    members = [agent_member(number) for number in range(12)]
    world = Spread(9, Settings(), loss=0.1)
    times = matrix(len(members), rng)
    world.times = {
        (one.address, other.address): times[first][second]
        for first, one in enumerate(members)
        for second, other in enumerate(members)
    }
    nodes = [world.add(me) for me in members]
    for node in nodes[1:]:
        world.join(node, nodes[0].address)
    world.run(120.0)
    found = [
        abs(nodes[one].core.coordinate().rtt_s(nodes[other].core.coordinate()) - times[one][other]) / times[one][other]
        for one in range(len(nodes))
        for other in range(one)
    ]
    assert statistics.median(found) < 0.15
    assert all(node.core.counters()["coordinates_learned"] > 100 for node in nodes)
    assert max(node.largest_packet for node in nodes) <= MAX_DATAGRAM_BYTES


def test_an_agent_that_is_not_to_tells_nothing_and_learns_nothing() -> None:
    world = GossipCluster(2, Settings(coordinates=False))
    nodes = world.grow(3, settle=10.0)
    assert [node.core.coordinate() for node in nodes] == [Coordinate()] * 3
    assert all("coordinates_learned" not in node.core.counters() for node in nodes)
