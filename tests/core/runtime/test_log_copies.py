from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chowk.core.runtime.log_copies import LogFile, Syslog, copied_standard_error


class Wall:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def aside(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("agent-*.log"))]


def test_a_file_that_is_full_is_put_aside_and_only_so_many_are_kept(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "agent.log"), bytes_max=10, duration_s=0, files_max=2, wall=Wall())
    for number in range(5):
        file.write(f"line {number}..\n".encode())
    file.close()
    assert (tmp_path / "agent.log").read_text() == "line 4..\n"
    assert aside(tmp_path) == ["line 2..\n", "line 3..\n"]


def test_a_file_that_is_old_is_put_aside(tmp_path: Path) -> None:
    wall = Wall()
    file = LogFile(str(tmp_path / "agent.log"), bytes_max=0, duration_s=60, files_max=0, wall=wall)
    file.write(b"a\n")
    file.write(b"b\n")
    wall.now += 60
    file.write(b"c\n")
    file.close()
    assert aside(tmp_path) == ["a\nb\n"]
    assert (tmp_path / "agent.log").read_text() == "c\n"


def test_minus_one_keeps_none_and_a_folder_gets_the_default_name(tmp_path: Path) -> None:
    file = LogFile(f"{tmp_path}/new/", bytes_max=2, duration_s=0, files_max=-1, wall=Wall())
    file.write(b"a\n")
    file.write(b"b\n")
    file.close()
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {"chowk.log": "b\n"}


def test_files_that_only_look_alike_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "agent-notes.log").write_text("mine")
    file = LogFile(str(tmp_path / "agent.log"), bytes_max=1, duration_s=0, files_max=1, wall=Wall())
    for _ in range(4):
        file.write(b"x\n")
    file.close()
    assert (tmp_path / "agent-notes.log").read_text() == "mine"


def test_what_this_process_and_its_children_say_is_copied_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = LogFile(str(tmp_path / "agent.log"), bytes_max=0, duration_s=0, files_max=0)
    with copied_standard_error([file]):
        os.write(2, b"ours\n")
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('theirs')"], check=True)
    os.write(2, b"after\n")
    assert (tmp_path / "agent.log").read_text() == "ours\ntheirs\n"
    assert capfd.readouterr().err == "ours\ntheirsafter\n"


def test_syslog_gets_the_facility_and_the_level_of_the_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "log"))
        syslog = Syslog("LOCAL0", address=str(tmp_path / "log"))
        syslog.write(b"2026-01-01T00:00:00Z [error    ] it broke\n")
        syslog.write(b'{"level": "info", "event": "it works"}\n')
        syslog.close()
        first, second = listener.recv(1000), listener.recv(1000)
    assert first.startswith(b"<131>chowk[")
    assert first.endswith(b"it broke")
    assert second.startswith(b"<134>chowk[")


def test_without_a_system_log_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no system log"):
        Syslog("LOCAL0", address=str(tmp_path / "none"))
