"""An agent that took over from a killed one ends what that one had started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.mesh import mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually


@pytest.mark.parametrize("launcher_lives", [True, False], ids=["launcher lives", "launcher killed too"])
def test_a_clean_stop_ends_adopted_sidecars_too(tmp_path: Path, launcher_lives: bool) -> None:
    with AgentProcess(tmp_path, mesh_hcl(free_port(), free_port(), free_port()), dev=False) as agent:
        eventually(lambda: agent.log().count("proxy attached") == 2, "both sidecars run")
        agent.stop(signal.SIGKILL)
        if not launcher_lives:
            os.kill(agent.child("chowk.connect.proxy.launcher"), signal.SIGKILL)
        agent.start()
        eventually(lambda: agent.log().count("proxy attached") == 4, "both are adopted")
        assert agent.stop() == 0
        assert agent.descendants() == []
