"""A cluster of real processes under faults: minutes of it here, hours with `make chaos HOURS=N`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parent / "chaos" / "run.py"
ROOT = RUN.parents[2]


@pytest.mark.parametrize(("servers", "minutes"), [(3, 1.5), (5, 1.0)])
def test_a_tormented_cluster_loses_nothing_and_answers_nothing_stale(servers: int, minutes: float) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "integration"), str(ROOT / "tests")])}
    command = [sys.executable, str(RUN), "--servers", str(servers), "--minutes", str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=minutes * 60 + 400)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
