"""Changing the keys of a live cluster, member by member, while it gossips."""

from __future__ import annotations

from pathlib import Path

import pytest

from chowk.agent.gossip.keyring import Keyring, encode_key
from chowk.agent.gossip.rotation import RotationFailed
from chowk.core.errors import InvalidRequest
from chowk.core.records.member import ALIVE, FAILED
from support.gossip_cluster import KEY, address, make, run, running, status, until

NEW = encode_key(b"n" * 16)
OLD = encode_key(KEY)


def test_a_rotation_reaches_every_member_its_file_and_whoever_wants_to_know(tmp_path: Path) -> None:
    async def body() -> None:
        folders = [tmp_path / name for name in ("n1", "n2", "n3")]
        one, two, three = (make(folder.name, keyring=Keyring.open(OLD, folder), data_dir=folder) for folder in folders)
        heard: list[tuple[str, ...]] = []
        three.on_keys(heard.append)
        async with running(one, two, three):
            await two.change_keys("install", NEW)
            await one.change_keys("use", NEW)
            reply = await three.change_keys("list")
            assert (reply.members, reply.keys, reply.primary) == (3, {OLD: 3, NEW: 3}, {NEW: 3})
            await three.change_keys("remove", OLD)
            assert one.keys() == two.keys() == three.keys() == (NEW,)
            assert heard == [(OLD, NEW), (NEW, OLD), (NEW,)]
            assert all(Keyring.open("", folder).keys == (b"n" * 16,) for folder in folders)
            late = make("n4", keys=(b"n" * 16,))
            async with running(late, joined=False):
                await late.join([address(two)])
                await until(one, lambda: status(one, "n4") == ALIVE)
            assert {status(one, "n2"), status(one, "n3")} == {ALIVE}

    run(body)


def test_a_member_that_died_is_not_asked_and_one_that_lost_the_key_stops_the_change() -> None:
    async def body() -> None:
        lost = Keyring((KEY,))
        one, two, three = make("n1"), make("n2", keyring=lost), make("n3")
        async with running(one, two, three):
            await three.close()
            await until(one, lambda: status(one, "n3") == FAILED)
            reply = await one.change_keys("install", NEW)
            assert reply.members == 2
            lost.remove(b"n" * 16)
            with pytest.raises(RotationFailed, match=r"nothing was changed.*n2: it does not hold the key"):
                await one.change_keys("use", NEW)
            assert one.keys()[0] == OLD
            assert (await one.change_keys("list", local_only=True)).members == 1

    run(body)


def test_a_cluster_in_the_clear_has_no_keyring() -> None:
    async def body() -> None:
        one = make("n1", keys=())
        async with running(one):
            for operation in ("list", "install"):
                with pytest.raises(InvalidRequest, match="not encrypted"):
                    await one.change_keys(operation, NEW)

    run(body)
