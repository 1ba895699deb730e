"""Changing keys across members: all or a clear word of who did not, and never a change that cuts one off."""

from __future__ import annotations

import asyncio
import random

import pytest

from chowk.agent.gossip import rotation
from chowk.agent.gossip.keyring import Keyring, encode_key
from chowk.agent.gossip.rotation import INSTALL, LIST, REMOVE, USE, KeyringReply, RotationFailed
from chowk.core.records.member import Member

OLD, NEW = b"o" * 32, b"n" * 32
MEMBERS = [Member(name=f"n{number}", address="127.0.0.1", port=number) for number in (1, 2, 3)]


class Cluster:
    """A keyring a member; `down` do not answer."""

    def __init__(self, *rings: Keyring) -> None:
        self.rings = dict(
            zip(("n1", "n2", "n3"), rings or (Keyring((OLD,)), Keyring((OLD,)), Keyring((OLD,))), strict=True)
        )
        self.down: set[str] = set()

    async def ask(self, member: Member, question: bytes) -> bytes:
        if member.name in self.down:
            raise TimeoutError
        return rotation.serve(self.rings[member.name], question)

    def change(self, operation: str, key: bytes = b"") -> KeyringReply:
        return asyncio.run(rotation.change_keys(operation, key, MEMBERS, self.ask))

    @property
    def keys(self) -> list[tuple[bytes, ...]]:
        return [ring.keys for ring in self.rings.values()]


def test_a_key_is_installed_used_and_the_old_one_removed_everywhere() -> None:
    cluster = Cluster()
    for operation, key in ((INSTALL, NEW), (USE, NEW), (REMOVE, OLD)):
        cluster.change(operation, key)
    assert cluster.keys == [(NEW,)] * 3
    reply = cluster.change(LIST)
    assert reply == KeyringReply(members=3, keys={encode_key(NEW): 3}, primary={encode_key(NEW): 3}, errors={})


def test_use_changes_nothing_when_one_member_lacks_the_key() -> None:
    cluster = Cluster(Keyring((OLD, NEW)), Keyring((OLD,)), Keyring((OLD, NEW)))
    with pytest.raises(RotationFailed, match=r"nothing was changed.*n2: it does not hold the key"):
        cluster.change(USE, NEW)
    assert cluster.keys == [(OLD, NEW), (OLD,), (OLD, NEW)]


def test_remove_changes_nothing_while_one_member_still_uses_the_key() -> None:
    cluster = Cluster(Keyring((NEW, OLD)), Keyring((OLD, NEW)), Keyring((NEW, OLD)))
    with pytest.raises(RotationFailed, match=r"nothing was changed.*n2: it still uses the key"):
        cluster.change(REMOVE, OLD)
    assert cluster.keys[0] == (NEW, OLD)


@pytest.mark.parametrize("operation", [USE, REMOVE])
def test_use_and_remove_change_nothing_while_a_member_does_not_answer(operation: str) -> None:
    cluster = Cluster(*(Keyring((OLD, NEW)) for _ in range(3)))
    cluster.down = {"n3"}
    with pytest.raises(RotationFailed, match=r"nothing was changed.*n3: no answer: TimeoutError"):
        cluster.change(operation, NEW)
    assert cluster.keys == [(OLD, NEW)] * 3


def test_an_install_that_one_member_missed_is_told_and_can_be_repeated() -> None:
    cluster = Cluster()
    cluster.down = {"n2"}
    with pytest.raises(RotationFailed, match=r"2 of 3 members did it.*n2: no answer"):
        cluster.change(INSTALL, NEW)
    assert cluster.change(LIST).errors == {"n2": "no answer: TimeoutError"}
    cluster.down = set()
    cluster.change(INSTALL, NEW)
    assert cluster.keys == [(OLD, NEW)] * 3


def test_a_member_without_a_keyring_says_so() -> None:
    cluster = Cluster(Keyring((OLD,)), Keyring(()), Keyring((OLD,)))
    with pytest.raises(RotationFailed, match=r"n2: gossip is not encrypted"):
        cluster.change(INSTALL, NEW)


def test_garbage_as_a_question_is_a_value_error_and_changes_nothing() -> None:
    ring = Keyring((OLD,))
    rng = random.Random(1)
    for _ in range(500):
        try:
            rotation.serve(ring, rng.randbytes(rng.randrange(40)))
        except ValueError:
            continue
    assert ring.keys == (OLD,)
