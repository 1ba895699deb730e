"""Many sidecars on one agent: each of `count` services has one, with an HTTP upstream to the one service `api`.

`/mark` is answered by each sidecar itself, with a redirect that names the mark last written to the router of `api`: it tells
which configuration a sidecar serves by. Everything else goes through both sidecars to the application of `api`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

from harness.agent import AgentProcess

POLL_S = 0.1
"""Between two looks at one sidecar: what is measured may seem longer by this, never shorter."""


def free_range(count: int) -> int:
    """The first of `count` ports that are free now."""
    for first in range(30_000, 60_000 - count, count):
        listeners = []
        try:
            for port in range(first, first + count):
                listeners.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        finally:
            for listener in listeners:
                listener.close()
        return first
    raise OSError(f"no {count} free ports in a row")


class ManySidecars:
    """`agent` is not started. `upstreams` are the local ports of the sidecars' upstreams, one each; `ports`
    all that they may listen on.
    """

    def __init__(self, folder: Path, count: int, app_port: int) -> None:
        self.count = count
        low = free_range(2 * count + 16)
        self.ports = range(low, low + 2 * count + 16)
        self.upstreams = [low + count + 16 + number for number in range(count)]
        self.agent = AgentProcess(
            folder,
            f"""
            ports {{ sidecar_min_port = {low}, sidecar_max_port = {low + count + 15} }}
            config_entries {{ bootstrap = [
              {{ kind = "service-defaults", name = "api", protocol = "http" }},
              {_router("first")}
            ] }}
            service {{ name = "api", port = {app_port}, connect {{ sidecar_service {{ }} }} }}
            """,
            dev=False,
        )
        self.agent.write(
            "services.hcl", "\n".join(_service(number, port) for number, port in enumerate(self.upstreams))
        )

    def write_mark(self, mark: str) -> None:
        """Change the router of `api`."""
        routes = [{"Match": {"HTTP": {"PathExact": "/mark"}}, "Destination": {"Redirect": {"Path": f"/{mark}"}}}]
        self.agent.put("/v1/config", {"Kind": "service-router", "Name": "api", "Routes": routes})

    def proxies(self) -> dict[int, int]:
        """Private bytes by the pid of each sidecar that runs."""
        return {
            pid: private_bytes(pid)
            for pid in self.agent.descendants()
            if Path(f"/proc/{pid}/comm").read_text().strip() == "chowk-proxy"
        }

    def kill_proxy(self, service: str) -> int:
        """SIGKILL to the sidecar of a service; its pid."""
        attached = [
            line
            for line in self.agent.log_path.read_text().splitlines()
            if "proxy attached" in line and f"proxy={service}-sidecar-proxy " in line
        ]
        pid = int(attached[-1].partition(" pid=")[2].split()[0])
        os.kill(pid, signal.SIGKILL)
        return pid


async def seen(ports: list[int], mark: str, timeout_s: float = 60.0) -> list[float]:
    """The moments (monotonic) at which each of these sidecars first answered with `mark`."""
    async with asyncio.timeout(timeout_s):
        return list(await asyncio.gather(*(_see(port, mark, place / len(ports)) for place, port in enumerate(ports))))


async def _see(port: int, mark: str, phase: float) -> float:
    await asyncio.sleep(POLL_S * phase)
    wanted = f"/{mark}\r\n".encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(POLL_S)
            continue
        try:
            while True:
                writer.write(b"GET /mark HTTP/1.1\r\nHost: api\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 302") and wanted in head:
                    return time.monotonic()
                if not head.startswith(b"HTTP/1.1 302"):
                    break
                await asyncio.sleep(POLL_S)
        except (OSError, EOFError):
            """The sidecar has no leaf yet, or ends; it is asked again."""
        finally:
            writer.close()
        await asyncio.sleep(POLL_S)


def private_bytes(pid: int) -> int:
    """The memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _router(mark: str) -> str:
    return f"""{{ kind = "service-router", name = "api", routes = [
        {{ match {{ http {{ path_exact = "/mark" }} }}, destination {{ redirect {{ path = "/{mark}" }} }} }}
    ] }}"""


def _service(number: int, port: int) -> str:
    return f"""service {{
      name = "svc-{number:03}", port = {port + 1}
      connect {{ sidecar_service {{ proxy {{ upstreams = [ {{
        destination_name = "api", local_bind_port = {port}
      }} ] }} }} }}
    }}"""
