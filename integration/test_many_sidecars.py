"""Many sidecars on one host: a change reaches all of them, and what dies beside them is nothing to them."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import threading
from pathlib import Path

from harness.app import HttpApp
from harness.mesh import fetch
from harness.sidecars import ManySidecars, seen
from harness.waiting import eventually

COUNT = 40


class Callers(threading.Thread):
    """Calls through every one of `ports`, again and again, each over one connection that is kept; `failed` says what went
    wrong.
    """

    def __init__(self, ports: list[int]) -> None:
        super().__init__(daemon=True)
        self.connections = {port: http.client.HTTPConnection("127.0.0.1", port, timeout=10) for port in ports}
        self.failed: list[str] = []
        self.rounds = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            for port, connection in self.connections.items():
                try:
                    connection.request("GET", "/")
                    if (body := connection.getresponse().read()) != b"api":
                        self.failed.append(f"{port}: {body!r}")
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(f"{port}: {error!r}")
                    connection.close()
            self.rounds += 1

    def more(self, rounds: int) -> None:
        """Wait for some more rounds of calls."""
        until = self.rounds + rounds
        eventually(lambda: self.rounds >= until, "calls go on", 30)

    def end(self) -> list[str]:
        self._ended.set()
        self.join(20)
        return self.failed


def all_flow(many: ManySidecars) -> None:
    """Wait until every sidecar carries its calls."""
    for port in many.upstreams:
        eventually(lambda: fetch(port) == "api", f"{port} flows\n{many.agent.log()}", 30)  # noqa: B023


def zombies(parent: int) -> list[int]:
    """Pids of children of this process that have ended and that it has not asked for their status."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if ") Z " in Path(f"/proc/{pid}/stat").read_text()]


def taken(ports: range) -> list[int]:
    """The ports that somebody still listens on."""
    found = []
    for port in ports:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            found.append(port)
    return found


def all_see(many: ManySidecars, mark: str) -> None:
    asyncio.run(seen(many.upstreams, mark))


def test_a_change_reaches_every_sidecar_and_one_that_dies_is_back_while_the_others_serve_on(tmp_path: Path) -> None:
    with HttpApp("api") as api:
        many = ManySidecars(tmp_path, COUNT, api.port)
        with many.agent as agent:
            all_see(many, "first")
            all_flow(many)
            many.write_mark("second")
            all_see(many, "second")
            assert [fetch(port) for port in many.upstreams] == ["api"] * COUNT

            before = set(many.proxies())
            assert len(before) == COUNT + 1
            callers = Callers([port for number, port in enumerate(many.upstreams) if number != 5])
            callers.start()
            killed = many.kill_proxy("svc-005")
            eventually(lambda: fetch(many.upstreams[5]) == "api", f"it is back\n{agent.log()}", 10)
            after = eventually(lambda: (now := set(many.proxies())) and len(now) == COUNT + 1 and now, "all run")
            assert before - after == {killed}
            callers.more(2)
            assert callers.end() == []
            assert zombies(agent.child("chowk.connect.proxy.launcher")) == []
        assert taken(many.ports) == []


def test_the_deaths_of_launcher_and_agent_disturb_no_traffic_and_the_next_agent_takes_all_of_them_over(
    tmp_path: Path,
) -> None:
    with HttpApp("api") as api:
        many = ManySidecars(tmp_path, COUNT, api.port)
        with many.agent as agent:
            all_see(many, "first")
            all_flow(many)
            before = set(many.proxies())
            callers = Callers(many.upstreams)
            callers.start()
            callers.more(1)

            os.kill(agent.child("chowk.connect.proxy.launcher"), signal.SIGKILL)
            callers.more(2)
            many.write_mark("second")
            all_see(many, "second")

            agent.stop(signal.SIGKILL)
            callers.more(2)
            attached = agent.log_path.read_text().count("proxy attached")
            agent.start()
            eventually(
                lambda: agent.log_path.read_text().count("proxy attached") == attached + COUNT + 1,
                f"all are taken over\n{agent.log()}",
                30,
            )
            many.write_mark("third")
            all_see(many, "third")
            assert callers.end() == []
            assert set(many.proxies()) == before
            assert agent.stop() == 0
            eventually(lambda: not agent.descendants(), "what they carried has ended, and so have they", 40)
        assert taken(many.ports) == []
