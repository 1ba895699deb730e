"""The smallest mesh: `web` with an upstream to `api`, both real services of one agent."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

from harness.ports import free_port


def sidecar_ports() -> tuple[int, int]:
    """A small range of free ports for sidecars, so that tests side by side do not meet."""
    while True:
        first = free_port()
        if first + 8 > 60000:
            continue
        try:
            for port in range(first, first + 8):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first, first + 7


def mesh_hcl(web_port: int, api_port: int, upstream_port: int, extra: str = "") -> str:
    """Configuration of the pair. The api's check runs each 200 ms so that tests see its health soon."""
    low, high = sidecar_ports()
    return f"""
    ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}
    services {{
      name = "web"
      port = {web_port}
      connect {{ sidecar_service {{ proxy {{ upstreams = [ {{
        destination_name = "api"
        local_bind_port = {upstream_port}
      }} ] }} }} }}
    }}
    services {{
      name = "api"
      port = {api_port}
      connect {{ sidecar_service {{ }} }}
      check {{ id = "api-up", http = "http://127.0.0.1:{api_port}/health", interval = "200ms", timeout = "2s" }}
    }}
    {extra}
    """


def fetch(port: int, path: str = "/", timeout_s: float = 5.0) -> str:
    """The body of one HTTP GET on loopback; OSError when the connection fails or is cut."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as reply:
        return reply.read().decode()


def refused(port: int) -> bool:
    """True when a call does not get through."""
    try:
        fetch(port, timeout_s=3.0)
    except (OSError, urllib.error.URLError):
        return True
    return False
