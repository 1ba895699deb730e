"""The server of this host hears of every change, and of nothing twice that need not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chowk.agent.gossip.reporting import MemberReporter
from chowk.core.cluster_requests import CLUSTER, ClusterReply, KeysReport, MembersReport
from chowk.core.errors import Unavailable
from chowk.core.records.member import FAILED
from chowk.core.runtime.clock import SystemClock
from support.gossip_cluster import make, run, running, status, until


class Server:
    """Keeps what it is told; `down` refuses."""

    def __init__(self) -> None:
        self.down = False
        self.cluster = ""
        self.told: list[Any] = []
        self.news = asyncio.Event()
        self.connected: list[Callable[[], None]] = []

    def on_connect(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.connected.append(callback)
        return lambda: self.connected.remove(callback)

    async def call(self, method: Any, request: Any, *, timeout_s: float) -> Any:
        assert timeout_s > 0
        if self.down:
            raise Unavailable("no server")
        if method is CLUSTER:
            return ClusterReply(id=self.cluster)
        self.told.append(request)
        self.news.set()
        return None

    async def wait(self, condition: Callable[[Any], bool]) -> None:
        async with asyncio.timeout(10):
            while not any(condition(each) for each in self.told):
                self.news.clear()
                await self.news.wait()


def statuses(report: Any) -> dict[str, str]:
    return {each.name: each.status for each in report.members} if isinstance(report, MembersReport) else {}


def test_every_change_and_every_connection_is_told() -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2")
        server = Server()
        reporter = MemberReporter(one, server, SystemClock())
        async with running(one, two):
            await reporter.start()
            await server.wait(lambda report: set(statuses(report)) == {"n1", "n2"})
            assert server.told[0] == KeysReport(keys=one.keys())
            assert sum(isinstance(each, KeysReport) for each in server.told) == 1
            await two.close()
            await server.wait(lambda report: statuses(report).get("n2") == FAILED)
            server.told.clear()
            server.connected[0]()
            await server.wait(lambda report: set(statuses(report)) == {"n1", "n2"})
            assert isinstance(server.told[0], KeysReport)
            await reporter.close()
            assert server.connected == []

    run(body)


def test_a_forgotten_name_is_told_once_the_server_is_there_again() -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2")
        server = Server()
        reporter = MemberReporter(one, server, SystemClock())
        async with running(one, two):
            await reporter.start()
            await server.wait(lambda report: len(statuses(report)) == 2)
            await two.close()
            await until(one, lambda: status(one, "n2") == FAILED)
            server.down = True
            await one.force_leave("n2", True)
            await until(one, lambda: status(one, "n2") == "")
            server.down = False
            server.connected[0]()
            await server.wait(lambda report: isinstance(report, MembersReport) and report.reaped == ("n2",))
            server.told.clear()
            server.connected[0]()
            await server.wait(lambda report: statuses(report).keys() == {"n1"} and report.reaped == ())
            await reporter.close()

    run(body)


def test_the_cluster_of_the_server_is_told_to_everybody_and_so_is_another_after_a_recovery() -> None:
    async def body() -> None:
        one, two = make("n1", tags={"role": "consul"}), make("n2")
        server = Server()
        reporter = MemberReporter(one, server, SystemClock())
        assert await reporter.learn_cluster() == ""

        def seen() -> list[str]:
            return [each.cluster for each in two.members()]

        async with running(one, two):
            assert seen() == ["", ""]
            await reporter.start()
            for name in ("before", "after"):
                server.cluster = name
                server.connected[0]()
                await until(two, lambda name=name: seen() == [name, ""])
            await reporter.close()

    run(body)
