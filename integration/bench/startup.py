"""How soon and how small: `chowk version`, the first DNS answer of `chowk agent -dev`, memory of agent and server idle."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.agent import CHOWK, AgentProcess
from harness.waiting import eventually

RUNS = 5


def version_s() -> float:
    """Seconds of one `chowk version`."""
    started = time.perf_counter()
    subprocess.run([*CHOWK, "version"], check=True, capture_output=True)
    return time.perf_counter() - started


def python_s() -> float:
    """Seconds of an interpreter that does nothing, for comparison."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True, capture_output=True)
    return time.perf_counter() - started


def memory_mb(pids: list[int], kind: str) -> float:
    """Megabytes of `kind` (Pss, Private) over processes: Pss shares what is shared."""
    total_kb = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                total_kb += int(line.split()[1])
    return total_kb / 1024


def agent_figures() -> tuple[float, float]:
    """Seconds from exec to the first DNS answer, and megabytes of agent and server together when idle."""
    with tempfile.TemporaryDirectory() as folder:
        agent = AgentProcess(Path(folder))
        started = time.perf_counter()
        agent.start(wait=False)
        try:
            eventually(lambda: agent.dig("host1.node.consul"), "first DNS answer", 30)
            answered = time.perf_counter() - started
            eventually(lambda: agent.get("/v1/catalog/nodes"), "ready")
            pids = [agent.process.pid, agent.child("chowk.server.main")] if agent.process else []
            return answered, memory_mb(pids, "Pss")
        finally:
            agent.stop()


def main() -> None:
    """Print the table."""
    versions = [version_s() for _ in range(RUNS)]
    bare = [python_s() for _ in range(RUNS)]
    figures = [agent_figures() for _ in range(RUNS)]
    rows = [
        ("chowk version", f"{statistics.median(versions):.3f} s", "≤ 0.3 s"),
        ("  of which a bare interpreter", f"{statistics.median(bare):.3f} s", ""),
        ("agent -dev: exec → first DNS answer", f"{statistics.median(row[0] for row in figures):.2f} s", "≤ 2 s"),
        ("idle agent + server, together (Pss)", f"{statistics.median(row[1] for row in figures):.0f} MB", "≤ 120 MB"),
    ]
    print(f"{'what':<40}{'median of ' + str(RUNS):>16}  bar")
    for what, value, bar in rows:
        print(f"{what:<40}{value:>16}  {bar}")


if __name__ == "__main__":
    main()
