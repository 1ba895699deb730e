"""The typo in a fault: somebody wrote 100 where 0.1 percent was meant, and every request was held for 5 s, for two hours.

It starts from that file. It is refused with its line by everything that reads it, and by the servers; a dry run shows what
the right one would do; and who means 100 and forces it has it end by itself, with nobody there to end it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import fetch, mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually

DELAY_S = 5.0
HTTP = 'config_entries { bootstrap = [{ kind = "service-defaults", name = "api", protocol = "http" }] }'
ROUTER = """Kind = "service-router"
Name = "api"
Routes = [
  {
    Match { HTTP { PathPrefix = "/" } }
    Destination {
      Fault {
        Delay {
          Percent  = %s
          Duration = "5s"
        }
        Expires = "%s"
      }
    }
  },
]
"""


def write(path: Path, percent: str, expires: datetime) -> str:
    path.write_text(ROUTER % (percent, expires.isoformat(timespec="seconds")))
    return str(path)


def seconds_for(call: Callable[[], str]) -> float:
    started = time.monotonic()
    assert call() == "api"
    return time.monotonic() - started


def test_the_typo_is_refused_and_a_forced_fault_ends_by_itself(tmp_path: Path) -> None:
    upstream, now = free_port(), datetime.now(UTC)
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream, HTTP), dev=False) as agent,
    ):

        def ask() -> str:
            return fetch(upstream, timeout_s=30)

        eventually(lambda: ask() == "api", f"HTTP passes\n{agent.log()}", 20)
        typo = write(tmp_path / "router.hcl", "100", now + timedelta(hours=2))

        # It is refused wherever it is read, with file, line and column, and with what to write; nothing is stored.
        place = (
            f"{typo}:9:22: service-router.routes[0].destination.fault.delay.percent: 100 percent is over max_percent"
        )
        for command in (("validate", typo), ("config", "diff", typo), ("config", "write", typo)):
            done = agent.cli(*command)
            assert done.returncode == (2 if "diff" in command else 1), command
            assert place in done.stderr
            assert "(one in a thousand is 0.1)" in done.stderr
        agent.write("bootstrap.hcl", "config_entries { bootstrap = [ {\n" + Path(typo).read_text() + "} ] }")
        done = agent.cli("validate", str(agent.config_dir))
        assert (done.returncode, "bootstrap.hcl:10:22: " in done.stderr) == (1, True)
        expires = (now + timedelta(hours=2)).isoformat()
        fault = {"Delay": {"Percent": 100, "Duration": "5s"}, "Expires": expires}
        router = {"Kind": "service-router", "Name": "api", "Routes": [{"Destination": {"Fault": fault}}]}
        assert agent.request("PUT", "/v1/config", router)[0] == 400
        assert agent.get("/v1/config/service-router") == []
        assert seconds_for(ask) < DELAY_S / 2

        # What was meant: a dry run says what would change, and for whom; it changes nothing.
        right = write(tmp_path / "router.hcl", "0.1", now + timedelta(hours=2))
        done = agent.cli("config", "write", "-dry-run", right)
        assert done.returncode == 0, done.stderr
        assert "+ Routes[0].Destination.Fault.Delay.Percent = 0.1" in done.stdout
        assert "api: 1 instance in the mesh, dialled by 1 sidecar" in done.stdout
        assert agent.get("/v1/config/service-router") == []

        # Who means 100 must say so, and may not for long.
        forever = write(tmp_path / "router.hcl", "100", now + timedelta(hours=25))
        done = agent.cli("config", "write", "-force", forever)
        assert (done.returncode, "more than 24h away" in done.stderr) == (1, True)
        ends = datetime.now(UTC) + timedelta(seconds=20)
        done = agent.cli("config", "write", "-force", write(tmp_path / "router.hcl", "100", ends))
        assert done.returncode == 0, done.stderr
        eventually(lambda: seconds_for(ask) >= DELAY_S, f"requests are held\n{agent.log()}", 20)

        # Nobody is left to end it: it ends.
        agent.stop(signal.SIGKILL)
        eventually(lambda: datetime.now(UTC) > ends and seconds_for(ask) < DELAY_S / 2, "the fault has ended", 40)
