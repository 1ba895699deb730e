"""What the servers take from their agents' gossip when it was joined with that of another cluster."""

from __future__ import annotations

import pytest

from chowk.core.cluster_requests import MembersReport
from chowk.core.records.member import ALIVE, FAILED, LEFT, Member
from chowk.server.rpc.board import ClusterBoard


def server(name: str, cluster: str, status: str = ALIVE) -> Member:
    tags = {"role": "consul", "id": name, "port": "8300"} | ({"cluster": cluster} if cluster else {})
    return Member(name=name, address="127.0.0.1", port=8301, status=status, tags=tags)


def known(cluster: str, *members: Member) -> list[str]:
    board = ClusterBoard(())
    board.report(MembersReport(members=members), cluster)
    return sorted(board.members)


def test_live_servers_of_another_cluster_are_passed_over() -> None:
    agent = Member(name="web", address="127.0.0.1", port=8301, tags={"role": "node"})
    assert known("red", server("a", "red"), server("b", "blue"), server("c", ""), agent) == ["a", "c", "web"]


@pytest.mark.parametrize("status", [FAILED, LEFT])
def test_one_that_died_before_a_recovery_gave_the_cluster_another_name_is_still_heard_of(status: str) -> None:
    assert known("after", server("a", "after"), server("b", "before", status)) == ["a", "b"]


def test_a_server_that_is_in_no_cluster_yet_hears_of_all() -> None:
    assert known("", server("a", "red"), server("b", "blue")) == ["a", "b"]
