"""The agent's own watches, before a real API: what they run, when, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chowk.agent.config.build import build
from chowk.agent.config.host import Host
from chowk.agent.config.model import WatchDefinition, WatchRequest
from chowk.agent.config.problems import ConfigError
from chowk.agent.watches import handlers
from chowk.agent.watches.watches import Watches
from chowk.core.runtime.clock import SystemClock
from support.http_api import Api, with_registry


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def at(api: Api) -> Callable[[], str]:
    return lambda: f"http://127.0.0.1:{api.http.port}"


def script(line: str, **parameters: Any) -> WatchDefinition:
    return WatchDefinition(**{"type": "key", "key": "k", "args": ("/bin/sh", "-c", line), **parameters})


def test_a_command_has_the_json_and_the_index_at_each_change(tmp_path: Path) -> None:
    out = tmp_path / "out"

    async def body(api: Api) -> None:
        watches = Watches([script(f'echo "$CONSUL_INDEX $(cat)" >> {out}')], at(api), SystemClock())
        await watches.start()
        await until(lambda: out.exists() and out.read_text().endswith("null\n"))
        await api.put("/v1/kv/k", data=b"v")
        await until(lambda: "Value" in out.read_text())
        index, _, text = out.read_text().splitlines()[-1].partition(" ")
        row = json.loads(text)
        assert (row["Key"], row["Value"], str(row["ModifyIndex"])) == ("k", "dg==", index)
        await watches.close()

    with_registry(tmp_path, body)


def test_a_command_that_hangs_is_one_process_and_ends_with_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    monkeypatch.setattr(handlers, "GRACE_S", 0.2)

    async def body(api: Api) -> None:
        line = f"trap '' TERM; echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait; wait"
        watches = Watches([script(line)], at(api), SystemClock())
        await watches.start()
        await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        for number in range(5):
            await api.put("/v1/kv/k", data=b"%d" % number)
        await watches.close()
        found = [int(pid) for pid in pids.read_text().split()]
        assert len(found) == 2
        for pid in found:
            await until(lambda pid=pid: not is_running(pid))

    with_registry(tmp_path, body)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_reload_leaves_what_did_not_change_and_ends_what_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out"

    async def body(api: Api) -> None:
        kept = script(f"cat > /dev/null; echo kept >> {out}")
        gone = script(f"cat > /dev/null; echo gone >> {out}", key="other")
        new = script(f"cat > /dev/null; echo new >> {out}", key="third")
        watches = Watches([kept, gone], at(api), SystemClock())
        await watches.start()
        await until(lambda: out.exists() and sorted(out.read_text().split()) == ["gone", "kept"])
        await watches.reload([new, kept])
        await until(lambda: "new" in out.read_text())
        await api.put("/v1/kv/other", data=b"1")
        await api.put("/v1/kv/k", data=b"1")
        await until(lambda: out.read_text().split().count("kept") == 2)
        assert sorted(out.read_text().split()) == ["gone", "kept", "kept", "new"]
        await watches.reload([])
        assert len(watches) == 0
        await watches.close()

    with_registry(tmp_path, body)


def test_without_an_http_api_no_watch_runs(tmp_path: Path) -> None:
    async def body() -> None:
        watches = Watches([script(f"touch {tmp_path / 'out'}")], lambda: "", SystemClock())
        await watches.start()
        assert len(watches) == 0
        await watches.close()

    asyncio.run(body())


def test_an_http_handler_gets_the_json_as_its_body(tmp_path: Path) -> None:
    heard: list[tuple[str, Any, str, str]] = []

    async def hear(request: web.Request) -> web.Response:
        index, extra = request.headers["X-Consul-Index"], request.headers["X-Extra"]
        heard.append((request.method, await request.json(), index, extra))
        return web.Response(status=500 if len(heard) == 1 else 200)

    async def body(api: Api) -> None:
        app = web.Application()
        app.router.add_route("*", "/hook", hear)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        request = WatchRequest(url=f"http://127.0.0.1:{port}/hook", method="PUT", header={"X-Extra": ("yes",)})
        watches = Watches([WatchDefinition(type="keyprefix", prefix="k", request=request)], at(api), SystemClock())
        await watches.start()
        await until(lambda: len(heard) == 1)
        await api.put("/v1/kv/k1", data=b"v")
        await until(lambda: len(heard) == 2)
        await watches.close()
        await runner.cleanup()
        assert heard[0][:2] == ("PUT", None)
        assert [row["Key"] for row in heard[1][1]] == ["k1"]
        assert heard[1][3] == "yes"

    with_registry(tmp_path, body)


# --- in files


def config(tmp_path: Path, text: str) -> Any:
    (tmp_path / "w.hcl").write_text(text)
    return build([str(tmp_path / "w.hcl")], [], {"dev": True}, host=Host(name="h"))


def test_watches_of_files_are_read_as_consul_writes_them(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """watches = [
          { type = "key" key = "foo/bar" args = ["/usr/bin/my-handler", "-x"] },
          { type = "service" service = "redis" tag = ["a", "b"] passingonly = true handler = "/bin/a | /bin/b" },
          { type = "checks" handler_type = "http"
            http_handler_config { path = "https://localhost:8000/watch" method = "PUT" timeout = "20s"
                                  header = { "x-foo" = ["bar", "baz"] } tls_skip_verify = true } }
        ]""",
    ).watches
    assert found == (
        WatchDefinition(type="key", key="foo/bar", args=("/usr/bin/my-handler", "-x")),
        WatchDefinition(
            type="service", service="redis", tags=("a", "b"), passing_only=True, shell_line="/bin/a | /bin/b"
        ),
        WatchDefinition(
            type="checks",
            request=WatchRequest(
                url="https://localhost:8000/watch",
                method="PUT",
                timeout_s=20.0,
                header={"x-foo": ("bar", "baz")},
                tls_skip_verify=True,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ('type = "event"', "must define a watch handler"),
        ('type = "key" args = ["x"]', "a watch of type key needs one key"),
        ('type = "nodes" key = "x" args = ["x"]', "a watch of type nodes takes no key"),
        ('type = "checks" service = "a" state = "any" args = ["x"]', "service or state, not both"),
        ('type = "checks" state = "bad" args = ["x"]', "state is one of any, passing"),
        ('type = "nodes" args = ["x"] handler = "y"', "either args or handler"),
        ('type = "nodes" handler_type = "http"', "http_handler_config is missing"),
        ('type = "nodes" handler_type = "http" http_handler_config { path = "file:///etc/passwd" }', "must be a URL"),
        ('type = "nodes" handler_type = "http" http_handler_config { path = "http://a" header { "a b" = ["c"] } }',
         "is no header"),
        ('type = "nodes" http_handler_config { path = "http://a" }', "needs handler_type"),
        ('type = "pods" args = ["x"]', 'expected one of "key"'),
        ('type = "nodes" args = ["x"] command = "x"', 'unknown key "command"'),
    ],
)  # fmt: skip
def test_a_watch_that_makes_no_sense_is_an_error_with_its_place(tmp_path: Path, block: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        config(tmp_path, f"watches = [ {{ {block} }} ]")
    assert "w.hcl:1:" in str(caught.value)


def test_a_stopped_command_is_asked_by_sigterm_first(tmp_path: Path) -> None:
    out = tmp_path / "out"

    async def body(api: Api) -> None:
        line = f"trap 'echo asked >> {out}; exit 0' TERM; sleep 600 & echo up >> {out}; wait"
        watches = Watches([script(line)], at(api), SystemClock())
        await watches.start()
        await until(lambda: out.exists())
        await watches.close()
        assert out.read_text().split() == ["up", "asked"]

    with_registry(tmp_path, body)
