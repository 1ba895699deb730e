"""The keyring's file: what counts, what is refused, what a crash leaves."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from chowk.agent.gossip.keyring import KEYS_MAX, Keyring, KeyringError, decode_key, encode_key
from chowk.core.errors import InvalidRequest

ONE, TWO = b"1" * 32, b"2" * 16
FILE = Path("serf") / "local.keyring"


def test_the_first_start_writes_the_configured_key_for_this_user_only(tmp_path: Path) -> None:
    ring = Keyring.open(encode_key(ONE), tmp_path)
    assert ring.keys == (ONE,)
    assert json.loads((tmp_path / FILE).read_text()) == [encode_key(ONE)]
    assert os.stat(tmp_path / FILE).st_mode & 0o777 == 0o600


def test_once_there_is_a_file_it_counts_and_the_configured_key_does_not(tmp_path: Path) -> None:
    Keyring.open(encode_key(ONE), tmp_path)
    assert Keyring.open(encode_key(TWO), tmp_path).keys == (ONE,)
    assert Keyring.open("", tmp_path).keys == (ONE,)


def test_a_rotation_outlives_a_restart(tmp_path: Path) -> None:
    ring = Keyring.open(encode_key(ONE), tmp_path)
    ring.install(TWO)
    ring.use(TWO)
    assert Keyring.open(encode_key(ONE), tmp_path).keys == (TWO, ONE)
    ring.remove(ONE)
    assert Keyring.open(encode_key(ONE), tmp_path).keys == (TWO,)


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    Keyring.open(encode_key(ONE), tmp_path)
    (tmp_path / FILE).chmod(0o644)
    Keyring.open("", tmp_path)
    assert os.stat(tmp_path / FILE).st_mode & 0o777 == 0o600


def test_without_a_key_there_is_no_file_and_no_keyring_to_change(tmp_path: Path) -> None:
    ring = Keyring.open("", tmp_path)
    assert ring.keys == ()
    assert not (tmp_path / FILE).exists()
    for change in (ring.install, ring.use, ring.remove):
        with pytest.raises(InvalidRequest, match="not encrypted"):
            change(ONE)


def test_what_makes_no_sense_changes_nothing(tmp_path: Path) -> None:
    ring = Keyring.open(encode_key(ONE), tmp_path)
    with pytest.raises(InvalidRequest, match="install it first"):
        ring.use(TWO)
    with pytest.raises(InvalidRequest, match="primary"):
        ring.remove(ONE)
    ring.remove(TWO)
    ring.install(ONE)
    assert ring.keys == (ONE,)
    for number in range(KEYS_MAX - 1):
        ring.install(bytes([number]) * 16)
    with pytest.raises(InvalidRequest, match="remove one"):
        ring.install(TWO)
    assert len(ring.keys) == KEYS_MAX


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[]", b"{}", b'"x"', b"[1]", b'["x"]', b'["YWJj"]', json.dumps(["AAAA"] * 9).encode()]
)
def test_a_damaged_file_stops_the_start_and_says_where_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "serf").mkdir()
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(KeyringError, match=r"local\.keyring"):
        Keyring.open(encode_key(ONE), tmp_path)


def test_a_change_that_the_disk_refuses_is_not_in_force(tmp_path: Path) -> None:
    ring = Keyring.open(encode_key(ONE), tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / "serf").rmdir()
    with pytest.raises(OSError):
        ring.install(TWO)
    assert ring.keys == (ONE,)


def test_a_wrong_key_is_told_without_showing_it() -> None:
    secret = base64.b64encode(b"s" * 20).decode()
    with pytest.raises(InvalidRequest) as refused:
        decode_key(secret)
    assert secret not in str(refused.value)
    assert "16, 24 or 32" in str(refused.value)
    with pytest.raises(InvalidRequest):
        decode_key("no base64!")
