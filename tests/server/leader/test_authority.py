"""The leader as CA: one root however often it restarts, the key durable before its root, nothing signed without both."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from chowk.connect.ca.keys import make_csr, make_key
from chowk.core.errors import Unavailable
from chowk.server.leader.keystore import DiskKeys
from support.authority_rig import Life

CSR = make_csr(make_key(), "web")


def test_a_restart_keeps_the_root_and_signs_with_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as first:
            root, cluster = first.active(), first.machine.store.cluster_id
            assert root.replace(":", "") in first.consensus.keys_seen[0], (
                "the root was proposed before its key was durable"
            )
        async with Life(tmp_path) as second:
            assert (second.active(), second.machine.store.cluster_id) == (root, cluster)
            assert [root.id for root in second.machine.store.roots] == [root]
            leaf = await second.duties.authority.sign("web", CSR)
            assert leaf.service == "web"

    asyncio.run(scene())


def test_a_root_whose_key_is_gone_stays_trusted_under_a_new_active_one(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as first:
            root = first.active()
        for path in (tmp_path / "server" / "ca").iterdir():
            path.unlink()
        async with Life(tmp_path) as second:
            trusted = second.machine.store.trusted()
            assert trusted.active_root_id != root
            assert [(each.id == root, each.active) for each in trusted.roots] == [(True, False), (False, True)]
            await second.duties.authority.sign("web", CSR)

    asyncio.run(scene())


def test_a_key_file_of_garbage_or_of_another_root_is_not_signed_with(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as first:
            root = first.active()
        path = tmp_path / "server" / "ca" / f"{root.replace(':', '')}.pem"
        path.write_bytes(b"garbage")
        async with Life(tmp_path) as second:
            assert second.active() != root

    asyncio.run(scene())


def test_a_crash_between_key_and_root_leaves_a_server_that_starts(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path, failures=1) as life:
            assert len(life.consensus.keys_seen) == 2
            assert len(life.machine.store.roots) == 1
            assert life.active().replace(":", "") in life.consensus.keys_seen[1]

    asyncio.run(scene())


def test_who_does_not_lead_does_not_sign(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path) as life:
            life.consensus.lead(False)
            with pytest.raises(Unavailable, match="no certificate authority yet"):
                await life.duties.authority.sign("web", CSR)
            assert not life.duties.done.is_set()
            life.consensus.lead(True)
            await life.duties.done.wait()
            await life.duties.authority.sign("web", CSR)

    asyncio.run(scene())


def test_the_configuration_of_the_ca_and_first_entries_are_written_once(tmp_path: Path) -> None:
    entries = (
        {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
        {"Kind": "proxy-defaults", "Name": "wrong"},
        {"Kind": "nonsense"},
    )

    async def scene() -> None:
        async with Life(tmp_path, ca_config={"leaf_cert_ttl": "2h"}, config_entries=entries) as first:
            configuration = first.machine.store.ca_configuration
            assert configuration is not None
            assert configuration.config["LeafCertTTL"] == "2h0m0s"
            assert list(first.machine.store.entries) == [("proxy-defaults", "global")]
        changed = ({"Kind": "proxy-defaults", "Name": "global"},)
        async with Life(tmp_path, ca_config={"leaf_cert_ttl": "4h"}, config_entries=changed) as second:
            assert second.machine.store.ca_configuration == configuration
            assert second.machine.store.entries == first.machine.store.entries

    asyncio.run(scene())


def test_a_ca_config_that_is_wrong_is_told_and_defaults_are_used(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Life(tmp_path, ca_config={"leaf_cert_ttl": "1s"}) as life:
            assert life.machine.store.ca_configuration is not None
            assert life.machine.store.ca_configuration.config["LeafCertTTL"] == "72h0m0s"

    asyncio.run(scene())


def test_key_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    keys = DiskKeys(tmp_path / "ca")
    previous = os.umask(0)
    try:
        keys.save("ab:cd", b"secret")
    finally:
        os.umask(previous)
    path = tmp_path / "ca" / "abcd.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert keys.load("ab:cd") == b"secret"
    assert keys.load("ab:ce") is None
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        keys.load("ab:cd")


@pytest.mark.parametrize("root_id", ["", "../x", "ab/cd", "ZZ"])
def test_an_id_that_could_be_a_path_is_refused(tmp_path: Path, root_id: str) -> None:
    with pytest.raises(ValueError, match="not the id of a root"):
        DiskKeys(tmp_path).save(root_id, b"")


def test_a_link_in_place_of_a_key_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    (tmp_path / "ab.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        DiskKeys(tmp_path).load("ab")


def test_a_draft_left_by_a_crash_does_not_stop_the_next_save(tmp_path: Path) -> None:
    (tmp_path / ".ab.pem.tmp").write_bytes(b"torn")
    keys = DiskKeys(tmp_path)
    keys.save("ab", b"whole")
    assert keys.load("ab") == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["ab.pem"]
