"""What an agent counts, from its metrics. Called by the DNS tests."""

from __future__ import annotations

from harness.agent import AgentProcess


def dns_counters(agent: AgentProcess) -> dict[str, float]:
    """The DNS counters and gauges, by their names with labels. Those of workers are a second old at most."""
    text = agent.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("chowk_dns_")]
    return {name: float(value) for name, value in rows}
