"""The data folder: one agent at a time, an id that lasts, sockets whose paths the kernel takes."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from chowk.agent.identity import AgentFolder, DataDirError


def opened(path: Path) -> AgentFolder:
    folder = AgentFolder(str(path))
    folder.open()
    return folder


def test_the_node_id_is_made_once_and_remembered(tmp_path: Path) -> None:
    first = opened(tmp_path / "data")
    node_id = first.node_id("")
    first.close()
    second = opened(tmp_path / "data")
    assert second.node_id("") == node_id == str(uuid.UUID(node_id))
    second.close()


def test_a_damaged_node_id_is_named_and_not_replaced(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    (tmp_path / "node-id").write_text("half a u")
    with pytest.raises(DataDirError, match="node-id holds no UUID"):
        folder.node_id("")
    folder.close()


def test_a_second_agent_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(DataDirError, match=rf"another chowk agent \(pid {os.getpid()}\)"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_long_data_dir_gets_a_run_folder_with_short_paths(tmp_path: Path) -> None:
    folder = opened(tmp_path / ("d" * 120))
    assert len(os.fsencode(folder.run_dir / "launcher.sock")) < 108
    assert folder.run_dir.stat().st_mode & 0o777 == 0o700
    folder.close()
    folder.run_dir.rmdir()


def test_the_run_folder_of_a_dev_agent_goes_with_it() -> None:
    folder = AgentFolder("")
    folder.open()
    assert folder.run_dir.stat().st_mode & 0o777 == 0o700
    folder.close()
    assert not folder.run_dir.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirError, match=r"cannot use data_dir .*file/data"):
        opened(tmp_path / "file" / "data")


def test_a_dev_agent_removes_what_killed_ones_left_and_nothing_of_living_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = tmp_path / "chowk-dev-killed"
    killed.mkdir()
    (killed / "agent.lock").touch()
    foreign = tmp_path / "chowk-dev-no-agents"
    foreign.mkdir()
    living = AgentFolder("")
    living.open()
    assert not killed.exists()
    other = AgentFolder("")
    other.open()
    assert living.run_dir.exists()
    assert foreign.exists()
    for folder in (living, other):
        folder.close()
