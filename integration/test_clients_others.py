"""Other clients nobody here wrote: curl's ways of speaking HTTP, a Go tool on Consul's API, an older Python library."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.clients import shows

CURL = "curl"
CRYPT = "crypt (Go, on consul-api)"
OLDER = "python-consul2"
OLDER_SCRIPT = """
import sys, consul
c = consul.Consul(port=int(sys.argv[1]))
assert c.kv.put("old/a", "1") and c.kv.get("old/a")[1]["Value"] == b"1"
assert [row["Key"] for row in c.kv.get("old/", recurse=True)[1]] == ["old/a"]
assert c.agent.service.register("old", service_id="old-1", port=80, tags=["t"], check=consul.Check.ttl("10s"))
assert c.agent.services()["old-1"]["Port"] == 80
assert c.agent.check.ttl_pass("service:old-1")
assert c.agent.checks()["service:old-1"]["Status"] == "passing"
assert c.catalog.datacenters() == ["dc1"]
assert c.agent.service.deregister("old-1")
made = c.session.create(ttl=10)
assert c.session.renew(made)["ID"] == made and c.session.destroy(made)
try:
    c.acl.list()
except consul.base.ACLDisabled as error:
    print("as expected:", error)
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("others")) as made:
        yield made


def curl(agent: AgentProcess, path: str, *options: str, body: bytes = b"") -> tuple[int, str]:
    """The exit status of curl, and what it wrote: head and body."""
    command = ["curl", "-sS", "-i", "--max-time", "10", *options, f"http://127.0.0.1:{agent.http_port}{path}"]
    done = subprocess.run(command, input=body, capture_output=True, timeout=30)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


@shows(CURL, "HTTP/1.0, with and without keep-alive")
def test_http_1_0(agent: AgentProcess) -> None:
    status, text = curl(agent, "/v1/status/leader", "-0")
    assert (status, text.split()[1]) == (0, "200")
    assert "chunked" not in text.lower()
    status, text = curl(agent, "/v1/status/leader", "-0", "-H", "Connection: keep-alive")
    assert (status, text.split()[1]) == (0, "200")
    assert "connection: keep-alive" in text.lower()


@shows(CURL, "`Expect: 100-continue`")
def test_expect_100_continue(agent: AgentProcess) -> None:
    status, text = curl(agent, "/v1/kv/big", "-T", "-", "-H", "Expect: 100-continue", body=b"x" * 100_000)
    assert status == 0
    assert text.startswith("HTTP/1.1 100 Continue")
    assert text.rstrip().endswith("true")


@shows(CURL, "a body that is too large: 413 in words")
def test_a_body_that_is_announced_too_large_is_refused(agent: AgentProcess) -> None:
    _status, text = curl(agent, "/v1/kv/huge", "-X", "PUT", "--data-binary", "@-", body=b"x" * 2_000_000)
    assert "413" in text
    assert "too large, max size: 524288 bytes" in text


@shows(CURL, "chunked bodies")
def test_chunked_bodies(agent: AgentProcess) -> None:
    status, text = curl(
        agent,
        "/v1/kv/chunked",
        "-X",
        "PUT",
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "@-",
        body=b"y" * 300_000,
    )
    assert (status, text.split()[1]) == (0, "200")
    assert curl(agent, "/v1/kv/chunked?raw")[1].endswith("y" * 300_000)


@shows(CURL, "HEAD")
def test_head(agent: AgentProcess) -> None:
    for path in ("/v1/catalog/nodes", "/v1/agent/self", "/v1/agent/metrics?format=prometheus", "/v1/kv/none"):
        status, text = curl(agent, path, "-I")
        assert status == 0, path
        assert text.startswith("HTTP/1.1 "), path
        assert text.endswith("\r\n\r\n"), path


@shows(CURL, "many requests on one connection")
def test_one_connection_is_kept(agent: AgentProcess) -> None:
    url = f"http://127.0.0.1:{agent.http_port}/v1/kv/kept/[1-20]"
    command = ["curl", "-sS", "-X", "PUT", "-d", "v", "-o", "/dev/null", "-w", "%{num_connects} %{http_code}\\n", url]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.split("\n")[:-1]
    assert lines == ["1 200", *["0 200"] * 19]


@shows(CURL, "`--compressed`")
def test_compressed(agent: AgentProcess) -> None:
    status, text = curl(agent, "/v1/agent/self", "--compressed")
    head, _, body = text.partition("\r\n\r\n")
    assert (status, json.loads(body)["Config"]["NodeName"]) == (0, "host1")
    assert "Vary: Accept-Encoding" in head


@shows(CRYPT, "get, set, list")
def test_a_go_tool_reads_and_writes_keys(agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("from Go")
    place = ["-plaintext", "-backend=consul", f"-endpoint=127.0.0.1:{agent.http_port}"]

    def crypt(*arguments: str) -> str:
        command = ["crypt-xordataexchange", arguments[0], *place, *arguments[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    crypt("set", "go/key", str(tmp_path / "value"))
    assert crypt("get", "go/key").rstrip() == "from Go"
    assert "go/key" in crypt("list", "go/")


@shows(OLDER, "keys, services, checks, sessions; `acl` is told that it is off")
def test_an_older_python_library(agent: AgentProcess) -> None:
    command = ["/usr/bin/python3", "-I", "-c", OLDER_SCRIPT, str(agent.http_port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    assert (done.returncode, done.stdout) == (0, "as expected: ACL support disabled\n"), done.stderr
