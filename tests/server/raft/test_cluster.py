"""Whole clusters under faults: what Raft promises holds at every step (the checks are in support.raft_cluster)."""

from __future__ import annotations

import contextlib

import pytest

from chowk.server.raft.errors import NotLeading
from chowk.server.raft.records import Configuration, Member
from support.raft_cluster import Cluster

SEEDS = 40


def settle(cluster: Cluster) -> None:
    cluster.cut.clear()
    cluster.drop = cluster.duplicate = 0.0
    for id, machine in sorted(cluster.machines.items()):
        if machine.raft is None:
            cluster.boot(id)
    cluster.run(8.0)
    cluster.propose(b"last")
    cluster.run(3.0)
    members = cluster.wait_leader().raft.configuration.voters
    states = [cluster.machines[id].applied for id in members]
    assert states[0][-1] == b"last"
    assert all(state == states[0] for state in states)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_cluster_under_drops_partitions_crashes_and_snapshots_keeps_its_promises_and_converges(seed: int) -> None:
    cluster = Cluster(seed, size=3 if seed % 3 else 5, drop=0.05, duplicate=0.05, delay_s=0.05)
    rng = cluster.rng
    ids = sorted(cluster.machines)
    for number in range(120):
        cluster.propose(b"%d" % number)
        cluster.read(rng.choice(ids))
        match rng.randrange(8):
            case 0:
                cluster.crash(rng.choice(ids))
            case 1 | 2:
                dead = [id for id in ids if cluster.machines[id].raft is None]
                if dead:
                    cluster.boot(rng.choice(dead))
            case 3:
                cluster.cut.add((rng.choice(ids), rng.choice(ids)))
            case 4:
                cluster.cut.clear()
            case 5:
                cluster.take_snapshot(rng.choice(ids), trailing=rng.randrange(4))
            case 6:
                leader = cluster.leader()
                if leader is not None and leader.raft is not None and rng.random() < 0.3:
                    target = rng.choice([id for id in ids if id != leader.id])
                    with contextlib.suppress(NotLeading):
                        leader.raft.transfer_leadership(target, cluster.now)
                    cluster.pump(leader)
        cluster.run(rng.uniform(0.0, 0.6))
    settle(cluster)


@pytest.mark.parametrize("seed", range(12))
def test_members_come_and_go_one_at_a_time_under_faults(seed: int) -> None:
    cluster = Cluster(seed, size=3, drop=0.02, delay_s=0.03)
    cluster.wait_leader()
    cluster.add("s4")
    configuration = cluster.machines["s1"].raft.configuration
    steps: list[Configuration] = []
    for voter in (False, True):
        configuration = configuration.joined_by(Member("s4", "s4:8300", voter=voter))
        steps.append(configuration)
    steps.append(configuration.left_by("s1"))
    for step in steps:
        for _ in range(40):
            cluster.propose(b"x")
            if cluster.change(step):
                break
            cluster.run(0.5)
        cluster.run(2.0)
        cluster.take_snapshot("s2", 1)
    cluster.crash("s1")
    cluster.drop = 0.0
    cluster.run(6.0)
    leader = cluster.wait_leader()
    assert leader.raft.configuration.voters == ("s2", "s3", "s4")
    cluster.propose(b"end")
    cluster.run(2.0)
    assert all(cluster.machines[id].applied[-1] == b"end" for id in ("s2", "s3", "s4"))


def test_the_same_seed_gives_the_same_trace() -> None:
    def trace() -> list[object]:
        cluster = Cluster(7, 3, drop=0.1, delay_s=0.05)
        seen: list[object] = []
        for number in range(30):
            cluster.propose(b"%d" % number)
            cluster.run(0.4)
            seen.append([machine.raft.describe() for machine in cluster.machines.values()])
        return seen

    assert trace() == trace()


def test_a_leader_that_hears_no_majority_steps_down_and_one_that_is_heard_is_not_disturbed_by_a_rejoiner() -> None:
    cluster = Cluster(1, 3)
    leader = cluster.wait_leader()
    others = [id for id in cluster.machines if id != leader.id]
    cluster.cut |= {(others[0], id) for id in cluster.machines} | {(id, others[0]) for id in cluster.machines}
    term = leader.raft.term
    cluster.run(20.0)
    cluster.cut.clear()
    cluster.run(5.0)
    assert (cluster.leader(), leader.raft.term) == (leader, term)
    cluster.cut |= {(other, leader.id) for other in others}
    cluster.run(5.0)
    assert cluster.leader() is not leader
    assert not leader.raft.leads


def test_a_follower_behind_the_compacted_log_gets_a_snapshot_once() -> None:
    cluster = Cluster(3, 3)
    leader = cluster.wait_leader()
    slow = next(id for id in cluster.machines if id != leader.id)
    cluster.crash(slow)
    for number in range(50):
        cluster.propose(b"%d" % number)
        cluster.run(0.05)
    cluster.take_snapshot(leader.id, trailing=0)
    cluster.boot(slow)
    cluster.run(3.0)
    assert cluster.machines[slow].applied == leader.applied
    assert leader.raft.progress()[slow].pace == "replicate"
