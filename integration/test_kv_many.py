"""100,000 keys listed by several clients at once: answered whole, with memory that their number hardly moves."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path

from harness.agent import AgentProcess
from harness.raw_http import ask

KEYS = 100_000
VALUE = base64.b64encode(b"x" * 100).decode()
OPERATIONS_MAX = 64
GROWTH_BYTES_MAX = 64 * 1024 * 1024
"""Of agent and server each; four listings at once are four times 24 MB."""


def resident_bytes_max(pid: int) -> int:
    """The most it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_a_hundred_thousand_keys_are_listed_whole_in_bounded_memory(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, dev=False) as agent:
        names = [f"app/{number // 1000:03d}/key-{number:06d}" for number in range(KEYS)]
        for start in range(0, KEYS, OPERATIONS_MAX):
            part = names[start : start + OPERATIONS_MAX]
            body = [{"KV": {"Verb": "set", "Key": name, "Value": VALUE}} for name in part]
            assert ask(agent, "PUT", "/v1/txn", json.dumps(body).encode()).status == 200
        assert agent.process is not None
        pids = (agent.process.pid, agent.child("server.main"))
        before = [resident_bytes_max(pid) for pid in pids]
        assert ask(agent, "GET", "/v1/kv/?keys").json() == names
        assert ask(agent, "GET", "/v1/kv/app/?keys&separator=/").json() == [f"app/{part:03d}/" for part in range(100)]
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(len(ask(agent, "GET", "/v1/kv/app/?recurse").json())))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [KEYS] * 4
        for pid, was in zip(pids, before, strict=True):
            assert resident_bytes_max(pid) - was < GROWTH_BYTES_MAX
