"""HTTP in the mesh with real agents: config entries in HCL, `curl` through the upstream's port, changes under traffic."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.mesh import mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually

ENTRIES = """
config_entries {
  bootstrap = [
    { kind = "service-defaults", name = "api", protocol = "http" },
    {
      kind = "service-intentions"
      name = "api"
      sources = [ {
        name = "web"
        permissions = [
          { action = "deny", http { path_prefix = "/admin" } },
          { action = "allow", http { path_prefix = "/", methods = [ "GET", "HEAD" ] } },
          { action = "deny", http { path_prefix = "/" } }
        ]
      } ]
    }
  ]
}
"""


def curl(port: int, path: str = "/", *options: str) -> tuple[int, str, str]:
    """Status (0: none), the proxy's own error, and the body."""
    command = ["curl", "-s", "--path-as-is", "-m", "5", "-w", "\n%{http_code} %header{x-chowk-error}", *options]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=False)
    body, _, last = done.stdout.rpartition("\n")
    status, _, error = last.partition(" ")
    return int(status or 0), error.strip(), body


def test_curl_through_the_mesh_is_judged_by_path_and_method(tmp_path: Path) -> None:
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream, ENTRIES)) as agent,
    ):
        eventually(lambda: curl(upstream) == (200, "", "api"), f"HTTP passes\n{agent.log()}", 20)
        for path in ("/admin", "/admin/users", "//admin", "/x/../admin", "/%61dmin", "/admin?x=1"):
            status, error, body = curl(upstream, path)
            assert (status, error) == (403, "denied"), path
            assert body.startswith("chowk: denied")
        assert curl(upstream, "/", "-d", "x=1")[:2] == (403, "denied")
        assert curl(upstream, "/administrator")[0] == 403
        assert curl(upstream, "/public") == (200, "", "api")


def test_routes_change_under_traffic_without_a_failed_request(tmp_path: Path) -> None:
    upstream = free_port()
    entries = """
    config_entries { bootstrap = [
      { kind = "service-defaults", name = "api", protocol = "http" },
      { kind = "service-defaults", name = "web", protocol = "http" }
    ] }
    """
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream, entries)) as agent,
    ):
        eventually(lambda: curl(upstream) == (200, "", "api"), f"HTTP passes\n{agent.log()}", 20)
        stop, failed, asked = threading.Event(), [], [0]

        def load() -> None:
            while not stop.is_set():
                got = curl(upstream)
                asked[0] += 1
                if got != (200, "", "api"):
                    failed.append(got)

        loading = threading.Thread(target=load)
        loading.start()
        try:
            router = {
                "Kind": "service-router",
                "Name": "api",
                "Routes": [
                    {"Match": {"HTTP": {"PathPrefix": "/to-web"}}, "Destination": {"Service": "web"}},
                    {
                        "Match": {"HTTP": {"PathPrefix": "/v1/"}},
                        "Destination": {"Service": "api", "PrefixRewrite": "/"},
                    },
                ],
            }
            agent.put("/v1/config", router)
            eventually(lambda: curl(upstream, "/to-web") == (200, "", "web"), f"the route counts\n{agent.log()}")
            assert curl(upstream, "/v1/x") == (200, "", "api")
            before = asked[0]
            eventually(lambda: asked[0] > before + 5, "load goes on")
        finally:
            stop.set()
            loading.join()
        assert not failed
        api.healthy = False
        eventually(lambda: curl(upstream)[:2] == (503, "no-healthy-instance"), f"it is said\n{agent.log()}")
        assert curl(upstream, "/to-web") == (200, "", "web")
        api.healthy = True
        eventually(lambda: curl(upstream) == (200, "", "api"), "healthy again")
