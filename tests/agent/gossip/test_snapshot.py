"""Whom a restarted agent asks: kept, bounded, and never a reason not to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from chowk.agent.gossip.snapshot import MEMBERS_MAX, Snapshot, read_snapshot, write_snapshot


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path) == Snapshot()
    snapshot = Snapshot(addresses=(("10.0.0.1", 8301), ("::1", 9)), left=True)
    write_snapshot(tmp_path, snapshot)
    assert read_snapshot(tmp_path) == snapshot


def test_it_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    write_snapshot(
        tmp_path, Snapshot(addresses=tuple((f"10.0.{number >> 8}.{number & 255}", 1) for number in range(2000)))
    )
    assert len(read_snapshot(tmp_path).addresses) == MEMBERS_MAX


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"addresses":[["x"]]}', b'{"addresses":[[1,"x"]]}', b"\xff" * 999]
)
def test_a_damaged_one_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "serf").mkdir()
    (tmp_path / "serf" / "local.snapshot").write_bytes(content)
    assert read_snapshot(tmp_path) == Snapshot()


def test_a_disk_that_refuses_costs_the_hint_only(tmp_path: Path) -> None:
    (tmp_path / "serf").write_text("a file where the folder should be")
    write_snapshot(tmp_path, Snapshot())
    assert read_snapshot(tmp_path) == Snapshot()
    write_snapshot(None, Snapshot())
    assert read_snapshot(None) == Snapshot()
