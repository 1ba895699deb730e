"""The process that ends what handlers run when their agent is killed: `python -m chowk.agent.watches.guarding`.

The agent (`guard`) names the process groups that run, a line each; the end of stdin says that the agent is gone: they get
SIGTERM, and SIGKILL after GRACE_S. It imports little: it is there as long as its agent is.
Trust boundary: stdin is the agent's own pipe; only numbers over 1 are taken.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Final

GRACE_S: Final = 5.0
LOOK_S: Final = 0.05
"""How often it looks who is left: a number that is free again may soon be another's."""


def follow(lines: Iterable[str], groups: set[int]) -> None:
    """Read `+GROUP` and `-GROUP` to the end."""
    for line in lines:
        sign, number = line[:1], line[1:].strip()
        if not number.isdecimal() or int(number) <= 1:
            continue
        if sign == "+":
            groups.add(int(number))
        elif sign == "-":
            groups.discard(int(number))


def end(groups: set[int], grace_s: float = GRACE_S) -> None:
    """SIGTERM to all, SIGKILL to those that are left after `grace_s`."""
    left = {group for group in groups if _signalled(group, signal.SIGTERM)}
    until_s = time.monotonic() + grace_s
    while left and time.monotonic() < until_s:
        time.sleep(LOOK_S)
        left = {group for group in left if _signalled(group, 0)}
    for group in left:
        _signalled(group, signal.SIGKILL)


def _signalled(group: int, number: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def main(stdin: IO[str]) -> None:
    """Guard until stdin ends."""
    groups: set[int] = set()
    follow((f"+{group}" for group in json.loads(stdin.readline())["groups"]), groups)
    with suppress(BrokenPipeError):  # the agent is gone already
        os.write(sys.stdout.fileno(), json.dumps({"ready": True}).encode() + b"\n")
    follow(stdin, groups)
    end(groups)


if __name__ == "__main__":
    main(sys.stdin)
