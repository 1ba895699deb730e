"""The CA's key on a majority: counted among voters only, never taken from what a server did not prove to hold."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chowk.connect.ca.keys import key_pem, make_key
from chowk.core.errors import InvalidRequest, Unavailable
from chowk.core.peer_requests import CA_KEY_LOAD, CA_KEY_SAVE, CAKey, CAKeyQuery
from chowk.core.requests import Empty, RaftServer
from chowk.core.runtime.clock import ManualClock
from chowk.core.runtime.rpc.endpoints import SERVER, Peer
from chowk.server.leader.key_copies import AGAIN_S, LOOK_S, RETRY_S, KeyCopies
from chowk.server.leader.key_sharing import UNUSED_S, KeySharing
from chowk.server.leader.keystore import DiskKeys, MemoryKeys
from chowk.server.rpc.gate import Gate, Roles
from support.consensus import SoloConsensus

ROOT = "aa:bb"
PEM = key_pem(make_key())


class Five(SoloConsensus):
    """`voters` and `learners` beside this one, which leads."""

    def __init__(self, voters: int, learners: int = 0) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        names = [(f"v{number}", True) for number in range(voters)] + [(f"l{n}", False) for n in range(learners)]
        self.servers = tuple(
            RaftServer(id=name, node=name, address=name, leader=False, voter=voter) for name, voter in names
        ) + (RaftServer(id="me", node="me", address="me", leader=True, voter=True),)

    def configuration(self) -> tuple[int, tuple[RaftServer, ...]]:
        return 1, self.servers


class Others:
    """Stands for `OtherServers`: who is `up` answers, and keeps what it is given."""

    def __init__(self, up: str, holding: str = "") -> None:
        self.up = set(up.split())
        self.keys = dict.fromkeys(holding.split(), PEM)
        self.asked: list[str] = []

    async def call(self, address: str, method: Any, request: Any, *, timeout_s: float) -> Any:
        self.asked.append(address)
        if address not in self.up:
            raise Unavailable("down")
        if method is CA_KEY_SAVE:
            self.keys[address] = request.pem
            return Empty()
        return CAKey(root_id=request.root_id, pem=self.keys.get(address))


def sharing(others: Others, voters: int, learners: int = 0) -> KeySharing:
    return KeySharing(Five(voters, learners), others, MemoryKeys(), tuple, ManualClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("voters", "learners", "up", "is_enough"),
    [
        (0, 0, "", True),
        (1, 0, "", False),
        (1, 0, "v0", True),
        (2, 0, "", False),
        (2, 0, "v1", True),
        (3, 0, "v0", False),
        (4, 0, "v0", False),
        (4, 0, "v0 v3", True),
        (2, 2, "l0 l1", False),
    ],
)
def test_a_root_waits_until_a_majority_of_voters_holds_its_key(
    voters: int, learners: int, up: str, is_enough: bool
) -> None:
    others = Others(up)
    publish = sharing(others, voters, learners).publish(ROOT, PEM)
    if is_enough:
        asyncio.run(publish)
    else:
        with pytest.raises(Unavailable, match="waits for a majority"):
            asyncio.run(publish)
    assert set(others.keys) == set(up.split())


def test_a_key_is_found_wherever_it_is_and_its_absence_is_believed_of_a_majority_only() -> None:
    assert asyncio.run(sharing(Others("v3", "v3"), 4).find(ROOT, is_pem)) == PEM
    assert asyncio.run(sharing(Others("l0", "l0"), 4, 1).find(ROOT, is_pem)) == PEM
    assert asyncio.run(sharing(Others("v0 v1"), 4).find(ROOT, is_pem)) is None
    with pytest.raises(Unavailable, match="too few"):
        asyncio.run(sharing(Others("v0", "v2"), 4).find(ROOT, is_pem))


def test_a_damaged_copy_of_the_key_is_passed_over_for_a_good_one() -> None:
    others = Others("v0 v1", "v1")
    others.keys["v0"] = PEM[:40]
    assert asyncio.run(sharing(others, 2).find(ROOT, is_pem)) == PEM
    others.keys["v1"] = b"flipped"
    assert asyncio.run(sharing(others, 2).find(ROOT, is_pem)) is None


def is_pem(copy: bytes) -> bool:
    return copy == PEM


def test_what_is_no_key_is_not_kept_and_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    async def scene() -> None:
        gate = Gate(Roles())
        KeySharing(Five(2), Others(""), DiskKeys(tmp_path / "ca"), tuple, ManualClock()).serve(gate)  # type: ignore[arg-type]
        peer = Peer("s", role=SERVER)

        async def call(method: Any, request: Any) -> Any:
            return await gate.endpoints.calls[method.name][1](request, peer)

        for bad in (
            CAKey(root_id=ROOT),
            CAKey(root_id=ROOT, pem=b"x"),
            CAKey(root_id=ROOT, pem=PEM * 1000),
            CAKey(root_id="../../x", pem=PEM),
            CAKey(root_id="", pem=PEM),
        ):
            with pytest.raises(InvalidRequest) as error:
                await call(CA_KEY_SAVE, bad)
            assert "PRIVATE" not in str(error.value)
        with pytest.raises(InvalidRequest):
            await call(CA_KEY_LOAD, CAKeyQuery(root_id="/etc/passwd"))
        assert not (tmp_path / "ca").exists() or not list((tmp_path / "ca").iterdir())
        await call(CA_KEY_SAVE, CAKey(root_id=ROOT, pem=PEM))
        assert (await call(CA_KEY_LOAD, CAKeyQuery(root_id=ROOT))).pem == PEM
        assert [path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()] == [0o600]

    asyncio.run(scene())


def test_the_key_is_in_no_text_of_the_message_that_carries_it() -> None:
    assert PEM.decode() not in repr(CAKey(root_id=ROOT, pem=PEM))


def test_servers_without_a_copy_get_one_and_one_that_lost_its_disk_gets_it_again() -> None:
    class Holder:
        async def keys(self) -> tuple[tuple[str, bytes], ...]:
            return ((ROOT, PEM),)

    async def scene() -> None:
        others, clock = Others("v0"), ManualClock()
        duty = asyncio.ensure_future(KeyCopies(Holder(), sharing(others, 2), clock).run())  # type: ignore[arg-type]
        await clock.advance(LOOK_S)
        assert set(others.keys) == {"v0"}
        others.up.add("v1")
        await clock.advance(RETRY_S + LOOK_S)
        assert set(others.keys) == {"v0", "v1"}
        asked = len(others.asked)
        await clock.advance(AGAIN_S / 2)
        assert len(others.asked) == asked
        del others.keys["v0"]
        await clock.advance(AGAIN_S)
        assert set(others.keys) == {"v0", "v1"}
        duty.cancel()
        await asyncio.wait([duty])

    asyncio.run(scene())


def test_keys_of_roots_that_never_became_active_are_removed_when_they_are_old(tmp_path: Path) -> None:
    folder, clock = tmp_path / "ca", ManualClock()
    keys = DiskKeys(folder)
    roots: list[Root] = []
    shared = KeySharing(Five(2), Others(""), keys, lambda: tuple(roots), clock)  # type: ignore[arg-type, return-value]

    def left(active: str) -> set[str]:
        asyncio.run(shared.prune(active))
        return {path.name for path in folder.iterdir()}

    for name, age_s in (("aa", 3), ("bb", 3), ("cc", 3), ("dd", 0.5)):
        keys.save(name, PEM)
        saved = clock.wall() - age_s * UNUSED_S
        os.utime(folder / f"{name}.pem", (saved, saved))
    (folder / "notes.pem").write_text("mine")
    os.utime(folder / "notes.pem", (0, 0))
    everything = {"aa.pem", "bb.pem", "cc.pem", "dd.pem", "notes.pem"}
    assert left("aa") == everything, "the store does not know the active root yet: it lags"
    roots += [Root("aa"), Root("bb")]
    assert left("zz") == everything
    assert left("aa") == everything - {"cc.pem"}
    assert keys.load("aa") == PEM


@dataclass
class Root:
    id: str
