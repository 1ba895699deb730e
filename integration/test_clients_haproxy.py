"""HAProxy as Debian packages it, with its backends resolved from SRV records of our DNS, and traffic through it.

`server-template` makes room for so many servers; HAProxy asks for `_web._tcp.service.consul` and fills, drains and reweighs
them from the answers, by UDP with EDNS of the size that `accepted_payload_size` says.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.agent import AgentProcess
from harness.clients import shows
from harness.ports import free_port
from harness.waiting import eventually

CLIENT = "HAProxy"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or "haproxy"
CONFIG = """
global
  log stderr format raw local0
defaults
  mode http
  log global
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  retries 3
  option redispatch
resolvers chowk
  nameserver agent 127.0.0.1:{dns}
  accepted_payload_size {payload}
  resolve_retries 2
  timeout resolve 200ms
  timeout retry 200ms
  hold valid 200ms
  hold obsolete 200ms
  hold nx 200ms
listen web
  bind 127.0.0.1:{port}
  balance roundrobin
  server-template web {slots} _web._tcp.service.consul resolvers chowk init-addr none resolve-opts allow-dup-ip
listen stats
  bind 127.0.0.1:{stats}
  stats enable
  stats uri /
  stats show-legends
"""


class Backend:
    """A tiny server that answers with its own port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        text = str(self.port).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class HAProxy:
    """One of its own, in `folder`, asking the agent's DNS."""

    def __init__(self, folder: Path, agent: AgentProcess, payload: int, slots: int = 5) -> None:
        self.port, self.stats_port = free_port(), free_port()
        self.log = folder / "haproxy.log"
        text = CONFIG.format(dns=agent.dns_port, port=self.port, stats=self.stats_port, payload=payload, slots=slots)
        (folder / "haproxy.cfg").write_text(text)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([HAPROXY, "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=log)

    def __enter__(self) -> HAProxy:
        eventually(self.rows, f"HAProxy\\n{self.log.read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def rows(self) -> list[dict[str, str]]:
        """Its statistics: a row a server."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stats_port}/;csv", timeout=5) as reply:
            lines = reply.read().decode().lstrip("# ").splitlines()
        return list(csv.DictReader(lines))

    def servers(self) -> dict[str, str]:
        """The addresses of the servers that are up, with their weights."""
        found = [row for row in self.rows() if row["pxname"] == "web" and row["svname"] not in ("FRONTEND", "BACKEND")]
        return {row["addr"]: row["weight"] for row in found if row["status"] in ("UP", "no check") and row["addr"]}

    def ask(self) -> str:
        """What one request through it gets: the port of the backend, or the status of a failure."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as reply:
                return str(reply.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.code)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path) as made:
        yield made


def register(agent: AgentProcess, backend: Backend, **more: Any) -> None:
    body = {"ID": f"web-{backend.port}", "Name": "web", "Port": backend.port, **more}
    agent.put("/v1/agent/service/register", body)


@pytest.mark.parametrize("payload", [512, 1232, 8192])
@shows(CLIENT, "`server-template` with SRV of `_web._tcp.service.consul`: servers come and go, traffic flows")
def test_backends_come_and_go_and_traffic_flows(agent: AgentProcess, tmp_path: Path, payload: int) -> None:
    with ExitStack() as stack:
        backends = [Backend() for _ in range(3)]
        for backend in backends:
            stack.callback(backend.close)
        first, second, third = backends
        register(agent, first)
        proxy = stack.enter_context(HAProxy(tmp_path, agent, payload))
        eventually(lambda: list(proxy.servers()) == [f"127.0.0.1:{first.port}"], "one server")
        assert {proxy.ask() for _ in range(6)} == {str(first.port)}
        register(agent, second)
        register(agent, third)
        eventually(lambda: len(proxy.servers()) == 3, "three servers")
        assert {proxy.ask() for _ in range(12)} == {str(each.port) for each in backends}
        agent.put(f"/v1/agent/service/deregister/web-{first.port}")
        eventually(lambda: f"127.0.0.1:{first.port}" not in proxy.servers(), "the first is gone")
        assert {proxy.ask() for _ in range(12)} == {str(second.port), str(third.port)}
        for each in (second, third):
            agent.put(f"/v1/agent/service/deregister/web-{each.port}")
        eventually(lambda: proxy.servers() == {}, "none is left")
        assert proxy.ask() == "503"
        register(agent, second)
        eventually(lambda: proxy.ask() == str(second.port), "back again")


@shows(CLIENT, "servers whose checks fail are left out; weights of the records are used")
def test_health_and_weights_reach_the_servers(agent: AgentProcess, tmp_path: Path) -> None:
    with ExitStack() as stack:
        heavy, light = Backend(), Backend()
        stack.callback(heavy.close)
        stack.callback(light.close)
        check = {"TTL": "60s", "Status": "passing"}
        register(agent, heavy, Weights={"Passing": 45000, "Warning": 1}, Check={**check, "CheckID": "heavy"})
        register(agent, light, Weights={"Passing": 15000, "Warning": 1}, Check={**check, "CheckID": "light"})
        proxy = stack.enter_context(HAProxy(tmp_path, agent, 1232))
        eventually(lambda: len(proxy.servers()) == 2, "two servers")
        weights = {address.rpartition(":")[2]: int(weight) for address, weight in proxy.servers().items()}
        assert weights[str(heavy.port)] > weights[str(light.port)]
        got = [proxy.ask() for _ in range(40)]
        assert got.count(str(heavy.port)) > got.count(str(light.port)) > 0
        agent.put("/v1/agent/check/fail/heavy")
        eventually(lambda: list(proxy.servers()) == [f"127.0.0.1:{light.port}"], "the failing one is out")
        agent.put("/v1/agent/check/pass/heavy")
        eventually(lambda: len(proxy.servers()) == 2, "it is back")


@shows(CLIENT, "a service of forty instances fits `accepted_payload_size 8192`")
def test_many_instances_fit_a_large_answer(agent: AgentProcess, tmp_path: Path) -> None:
    for number in range(40):
        body = {"ID": f"web-{number}", "Name": "web", "Port": 20_000 + number, "Address": f"127.0.2.{number + 1}"}
        agent.put("/v1/agent/service/register", body)
    with HAProxy(tmp_path, agent, 8192, slots=40) as proxy:
        eventually(lambda: len(proxy.servers()) == 40, "forty servers")
