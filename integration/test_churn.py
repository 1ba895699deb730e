"""Processes that freeze at bad moments, against real agents: calls go on, and a clean stop leaves nothing behind."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually


def test_a_frozen_launcher_does_not_outlive_a_clean_stop(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api:
        agent = AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream), dev=False).start()
        eventually(lambda: fetch(upstream) == "api", "the mesh carries a call")
        os.kill(agent.child("chowk.connect.proxy.launcher"), signal.SIGSTOP)
        assert fetch(upstream) == "api", "calls do not need the launcher"
        assert agent.stop() == 0
        left = agent.descendants()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == []


def test_the_mesh_carries_calls_while_the_agent_is_frozen(tmp_path: Path) -> None:
    upstream = free_port()
    with HttpApp("web") as web, HttpApp("api") as api, ExitStack() as stack:
        agent = stack.enter_context(AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream)))
        eventually(lambda: fetch(upstream) == "api", "the mesh carries a call")
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)
        try:
            assert [fetch(upstream) for _ in range(5)] == ["api"] * 5
        finally:
            agent.process.send_signal(signal.SIGCONT)
        eventually(lambda: agent.passing("api") == ["api"], "the agent answers again", 5)
