"""The guard of handlers: it ends with its agent what that agent ran, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from chowk.agent.watches.guard import MODULE
from chowk.agent.watches.guarding import end, follow

STUBBORN = "trap '' TERM; echo up; sleep 600 & wait; wait"


def started(line: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.PIPE, text=True, start_new_session=True)


def guard(groups: list[int]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"groups": groups}) + "\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == {"ready": True}
    return process


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_end_of_its_agent_ends_what_runs_and_nothing_that_was_over() -> None:
    known, told, over = started("echo up; sleep 600"), started("echo up; sleep 600 & wait"), started("sleep 600")
    process = guard([known.pid])
    assert process.stdin is not None
    process.stdin.write(f"+{told.pid}\n+{over.pid}\n-{over.pid}\nrubbish\n+0\n+-1\n+1\n")
    assert (read(known), read(told)) == ("up", "up")
    process.stdin.close()
    assert (known.wait(20), told.wait(20)) == (-15, -15)
    assert over.poll() is None
    over.kill()
    over.wait()
    assert process.wait(20) == 0


def test_an_agent_that_is_gone_before_it_heard_of_its_guard_is_gone_too() -> None:
    known = started("echo up; sleep 600")
    assert read(known) == "up"
    unread, told = os.pipe()
    os.close(unread)
    text = json.dumps({"groups": [known.pid]}) + "\n"
    assert (
        subprocess.run([sys.executable, "-m", MODULE], input=text, text=True, stdout=told, check=False).returncode == 0
    )
    os.close(told)
    assert known.wait(20) == -15


def test_a_group_that_does_not_listen_is_killed_with_all_it_started() -> None:
    process = started(STUBBORN)
    assert read(process) == "up"
    end({process.pid}, grace_s=0.2)
    assert process.wait(20) == -9
    assert process.stdout is not None
    assert process.stdout.read() == ""  # at its end: nobody of the group has it open any more


@pytest.mark.parametrize("line", ["", "+", "-", "+0", "+1", "+-5", "+1e3", "x12", "+ 7x"])
def test_what_is_no_process_group_is_passed_over(line: str) -> None:
    groups = {40}
    follow([line], groups)
    assert groups == {40}
