"""Configurations of Consul, started for real: what they say is served, and the agent lives."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent import AgentProcess

CONFIGS = Path(__file__).parents[1] / "tests" / "agent" / "config" / "consul_configs"


@pytest.mark.parametrize(
    ("name", "dev", "services"),
    [
        ("dev", True, {"counting-1", "counting-1-sidecar-proxy"}),
        ("mesh", False, {"web", "web-sidecar-proxy"}),
        ("production-1.22", False, set()),
    ],
)
def test_a_configuration_of_consul_starts_an_agent(tmp_path: Path, name: str, dev: bool, services: set[str]) -> None:
    with AgentProcess(tmp_path, dev=dev, flags=(f"-config-dir={CONFIGS / name}",)).start() as agent:
        assert set(agent.get("/v1/agent/services")) == services
        log = agent.log_path.read_text()
        for warning in (CONFIGS / name / "warnings.txt").read_text().splitlines():
            assert warning in log
