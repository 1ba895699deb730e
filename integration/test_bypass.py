"""Break glass with real agents: for a while, with a reason and a name, told where it is honoured, over by itself."""

from __future__ import annotations

import getpass
import http.client
import json
import signal
import time
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.app import HttpApp
from harness.hosts import Hosts
from harness.mesh import fetch, refused
from harness.waiting import eventually

LASTS_S = 8
TOLD_S = 5.0
WHY = "INC-42: denied by mistake"


def bypass(agent: AgentProcess, *arguments: str) -> tuple[int, str]:
    """Exit code, and everything that was said."""
    done = agent.cli("connect", "bypass", *arguments)
    return done.returncode, done.stdout + done.stderr


def deny(hosts: Hosts) -> None:
    done = hosts.cluster["server1"].cli("intention", "create", "-replace", "-deny", "web", "api")
    assert done.returncode == 0, done.stderr
    eventually(lambda: refused(hosts.upstream), "web is refused", TOLD_S)


def permitted(agent: AgentProcess) -> float:
    text = agent.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
    rows = [line for line in text.splitlines() if line.startswith("chowk_mesh_connections_permitted")]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


class Kept:
    """One connection of the application."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)

    def works(self) -> bool:
        try:
            self._connection.request("GET", "/")
            return self._connection.getresponse().read() == b"api"
        except (OSError, http.client.HTTPException):
            return False


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_a_bypass_of_the_mesh_lets_through_says_why_and_lapses(protocol: str, tmp_path: Path) -> None:
    entry = (
        f'config_entries {{ bootstrap = [ {{ kind = "service-defaults", name = "api", protocol = "{protocol}" }} ] }}'
    )
    with HttpApp("web") as web, HttpApp("api") as api, Hosts(tmp_path, web, api, entry) as hosts:
        deny(hosts)
        assert permitted(hosts.there) == 0
        began = time.monotonic()
        code, said = bypass(hosts.here, "-service", "api", "-for", f"{LASTS_S}s", "-reason", WHY)
        assert (code, "in the whole mesh until" in said) == (0, True), said
        eventually(hosts.flows, f"it is let through\n{hosts.there.log()}", TOLD_S)
        kept = Kept(hosts.upstream)
        assert kept.works()
        code, said = bypass(hosts.there, "-format=json")
        [one] = json.loads(said)
        assert (one["Service"], one["Where"], one["Reason"]) == ("api", "the mesh", WHY)
        assert one["By"] == getpass.getuser()
        eventually(lambda: permitted(hosts.there) > 0, "each use is counted")
        log = hosts.there.log_path.read_text()
        assert f"by={getpass.getuser()}" in log
        assert f"reason='{WHY}'" in log
        written = hosts.cluster["server1"].log_path.read_text()
        assert "bypass begins in the mesh" in written
        assert f"reason='{WHY}'" in written

        eventually(lambda: refused(hosts.upstream), "it is over by itself", LASTS_S + TOLD_S)
        assert time.monotonic() - began > LASTS_S - 1
        eventually(lambda: not kept.works(), "what it let in ends with it", TOLD_S)
        eventually(lambda: "bypass has lapsed" in hosts.there.log_path.read_text(), "it is said", TOLD_S)
        code, said = bypass(hosts.here)
        assert (code, said.strip()) == (0, "No bypass is in force.")


def test_a_host_without_servers_breaks_the_glass_for_itself(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api, Hosts(tmp_path, web, api) as hosts:
        deny(hosts)
        hosts.lose_servers()
        code, said = bypass(hosts.there, "-service", "api", "-for", "10m", "-reason", WHY)
        assert code == 1
        assert "add -host" in said, "the way that works is named"
        code, said = bypass(hosts.there, "-service", "api", "-for", "10m", "-reason", WHY, "-host")
        assert (code, "on this host until" in said) == (0, True), said
        eventually(hosts.flows, f"it is let through\n{hosts.there.log()}", TOLD_S)
        code, said = bypass(hosts.there)
        assert code == 0
        assert "No server answers" in said
        assert "this host" in said
        assert WHY in said

        hosts.there.stop(signal.SIGKILL)
        hosts.there.start(wait=False)
        eventually(lambda: "bypass of before is in force" in hosts.there.log_path.read_text(), "it is said again", 15)
        assert hosts.flows()

        kept = Kept(hosts.upstream)
        assert kept.works()
        eventually(lambda: bypass(hosts.there, "-end", "-service", "api", "-host")[0] == 0, "it is ended")
        eventually(lambda: refused(hosts.upstream), "before its time", TOLD_S)
        eventually(lambda: not kept.works(), "what it let in ends with it", TOLD_S)
        log = hosts.there.log_path.read_text()
        assert "bypass begins on this host" in log
        assert "bypass ended on this host" in log
        code, said = bypass(hosts.there, "-end", "-service", "api", "-host")
        assert (code, 'no bypass of "api"' in said) == (1, True)


def test_a_host_that_allows_no_bypass_takes_and_honours_none(tmp_path: Path) -> None:
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        hosts.there.write("bypass.hcl", "connect { allow_bypass = false }")
        with hosts:
            deny(hosts)
            code, said = bypass(hosts.there, "-service", "api", "-for", "10m", "-reason", WHY, "-host")
            assert (code, "allow_bypass = false" in said) == (1, True)
            assert bypass(hosts.here, "-service", "api", "-for", "10m", "-reason", WHY)[0] == 0
            ends = time.monotonic() + TOLD_S
            while time.monotonic() < ends:
                assert refused(hosts.upstream)
            assert bypass(hosts.here, "-end", "-service", "api")[0] == 0
            hosts.cluster["server1"].cli("intention", "create", "-replace", "-allow", "web", "api")
            eventually(lambda: fetch(hosts.upstream) == "api", "intentions work as before", TOLD_S)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-service", "api"), 1, "needs -for and -reason"),
        (("-service", "api", "-for", "1h"), 1, "needs -for and -reason"),
        (("-for", "1h", "-reason", "x"), 1, "-service is missing"),
        (("-end",), 1, "-service is missing"),
        (("-service", "api", "-for", "soon", "-reason", "x"), 1, "-for: "),
        (("-service", "api", "-for", "25h", "-reason", "x"), 1, "24h"),
        (("-service", "api", "-for", "-1h", "-reason", "x"), 1, "more than 0s"),
        (("-service", "api", "-for", "0s", "-reason", "x"), 1, "more than 0s"),
        (("-service", "api", "-for", "1h", "-reason", "  "), 1, "say why"),
        (("-service", "api", "-for", "1h", "-reason", "x" * 600), 1, "too long"),
        (("-service", "*", "-for", "1h", "-reason", "x"), 1, "of one service"),
        (("-service", "api", "-for", "25h", "-reason", "x", "-host"), 1, "at most 24h"),
        (("-service", "api", "-for", "soon", "-reason", "x", "-host"), 1, "duration"),
        (("-service", "api", "-for", "0s", "-reason", "x", "-host"), 1, "more than 0s"),
        (("-service", "api", "-for", "1h", "-reason", " ", "-host"), 1, "needs a reason"),
        (("-service", "../x", "-for", "1h", "-reason", "x", "-host"), 1, "letters, digits"),
        (("-end", "-service", "nothing"), 1, 'no bypass of "nothing"'),
    ],
)
def test_bad_flags_are_refused_and_begin_nothing(
    arguments: tuple[str, ...], code: int, words: str, agent: AgentProcess
) -> None:
    found, said = bypass(agent, *arguments)
    assert (found, words in said) == (code, True), said
    assert bypass(agent)[1].strip() == "No bypass is in force."


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with AgentProcess(tmp_path_factory.mktemp("agent")) as found:
        yield found
