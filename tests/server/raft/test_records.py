"""Configurations: what changes with their members, and what never does."""

from __future__ import annotations

import pytest

from chowk.server.raft.configurations import check_change
from chowk.server.raft.errors import ChangeRefused
from chowk.server.raft.records import Configuration, Member

OLD = Configuration((Member("s1", "a:1"), Member("s2", "a:2")), "nonce")


def test_the_clusters_nonce_is_carried_through_every_change_and_survives_the_log() -> None:
    assert OLD.joined_by(Member("s3", "a:3")).cluster == "nonce"
    assert OLD.left_by("s1").cluster == "nonce"
    assert Configuration.decode(OLD.encode()) == OLD


def test_a_change_to_another_clusters_nonce_is_refused() -> None:
    with pytest.raises(ChangeRefused, match="nonce"):
        check_change(OLD, Configuration(OLD.left_by("s1").members, "other"))


def test_a_configuration_written_before_there_was_a_nonce_is_still_read() -> None:
    assert Configuration.decode(b"\x81\xa7members\x90") == Configuration()


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (Configuration((OLD.members[1], OLD.members[0]), "nonce"), "sorted"),
        (Configuration((*OLD.members, OLD.members[1]), "nonce"), "each once"),
        (Configuration((Member("s1", "a:1", voter=False),), "nonce"), "a voter"),
        (OLD, "already"),
        (OLD.left_by("s1").joined_by(Member("s3", "a:3")), "one member at a time"),
    ],
)
def test_a_change_that_could_split_the_cluster_is_refused(new: Configuration, why: str) -> None:
    with pytest.raises(ChangeRefused, match=why):
        check_change(OLD, new)
