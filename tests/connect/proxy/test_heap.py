"""A crowd that has gone leaves no memory behind."""

from __future__ import annotations

import subprocess
import sys

from chowk.connect.proxy.heap import CROWD, Ebb


def test_a_crowd_has_gone_once_when_much_of_it_stays_away() -> None:
    ebb = Ebb()
    crowd, most_left = 10 * CROWD, 7 * CROWD
    told = [ebb.over(count) for count in (0, CROWD - 1, 0, 0, 0, crowd, most_left, 9, 9, crowd, 9, 5, 0, 0, 0, 0)]
    assert told == [False] * 12 + [True, False, False, False]


CROWD_GOES = """
from chowk.connect.proxy.heap import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

pinned, freed = [], []
for _ in range(2000):
    freed.append(bytearray(50_000))
    pinned.append(bytearray(600))
freed.clear()
before = resident()
give_back()
print(before - resident())
"""


def test_free_memory_is_given_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", CROWD_GOES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000
