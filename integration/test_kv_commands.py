"""`chowk kv` and `chowk lock` before a real agent: what they write, what they end, what they leave behind: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent import AgentProcess
from harness.raw_http import ask
from harness.waiting import eventually


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("locks")) as made:
        yield made


def test_the_commands_write_read_export_import_and_delete(agent: AgentProcess, tmp_path: Path) -> None:
    assert agent.cli("kv", "put", "cli/a", "one").stdout == "Success! Data written to: cli/a\n"
    assert agent.cli("kv", "put", "-flags=5", "-base64", "cli/\u00fc b", "AP8=").returncode == 0
    assert agent.cli("kv", "get", "cli/a").stdout == "one\n"
    assert agent.cli("kv", "get", "-keys", "cli/").stdout.splitlines() == ["cli/a", "cli/\u00fc b"]
    miss = agent.cli("kv", "get", "cli/none")
    assert (miss.returncode, miss.stderr) == (1, "Error! No key exists at: cli/none\n")
    exported = agent.cli("kv", "export", "cli/").stdout
    (tmp_path / "keys.json").write_text(exported)
    assert agent.cli("kv", "delete", "-recurse", "cli/").stdout == "Success! Deleted keys with prefix: cli/\n"
    assert ask(agent, "GET", "/v1/kv/cli/?keys").status == 404
    assert agent.cli("kv", "import", f"@{tmp_path / 'keys.json'}").stdout == "Imported: cli/a\nImported: cli/\u00fc b\n"
    assert agent.cli("kv", "export", "cli/").stdout == exported
    assert ask(agent, "GET", "/v1/kv/cli/%C3%BC%20b").json()[0]["Flags"] == 5
    index = ask(agent, "GET", "/v1/kv/cli/a").index
    lost = agent.cli("kv", "delete", "-cas", f"-modify-index={index - 1}", "cli/a")
    assert (lost.returncode, lost.stdout) == (1, "")
    assert agent.cli("kv", "delete", "-cas", f"-modify-index={index}", "cli/a").returncode == 0
    assert agent.cli("kv", "delete", "cli/\u00fc b").returncode == 0
    assert ask(agent, "GET", "/v1/kv/cli/?keys").status == 404
    broken = agent.cli("kv", "import", '[{"key": "cli/x", "value": "eA=="}, {"key": 1}]')
    assert broken.returncode == 1
    assert ask(agent, "GET", "/v1/kv/cli/x").status == 404, "nothing of a broken export is written"


def hold(agent: AgentProcess, prefix: str, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "CHOWK_HTTP_ADDR": f"{agent.address}:{agent.http_port}"}
    command = [sys.executable, "-m", "chowk", "lock", *words[:-1], prefix, words[-1]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def holder(agent: AgentProcess, prefix: str) -> str:
    answer = ask(agent, "GET", f"/v1/kv/{prefix}/.lock")
    return answer.json()[0].get("Session", "") if answer.status == 200 else ""


SLEEPER = "echo $$ > {file}; exec sleep 60"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("end", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (None, 1)], ids=["SIGTERM", "SIGINT", "lock lost"]
)
def test_lock_ends_its_child_when_it_is_stopped_or_loses_the_lock(
    agent: AgentProcess, tmp_path: Path, end: signal.Signals | None, code: int
) -> None:
    file = tmp_path / "pid"
    process = hold(agent, "held", SLEEPER.format(file=file))
    try:
        pid = int(eventually(lambda: file.exists() and file.read_text().strip(), "the child"))
        session = holder(agent, "held")
        assert session
        waiting = agent.cli("lock", "-timeout=300ms", "held", "true")
        assert (waiting.returncode, waiting.stdout) == (1, "")
        if end is None:
            agent.put(f"/v1/session/destroy/{session}")
        else:
            process.send_signal(end)
        _out, error = process.communicate(timeout=10)
        assert process.returncode == code, error
        assert not is_alive(pid)
        assert holder(agent, "held") == ""
        assert session not in {row["ID"] for row in agent.get("/v1/session/list")}
        if end is None:
            assert "lock was lost" in error
            ask(agent, "DELETE", "/v1/kv/held/.lock")
    finally:
        process.kill()
        process.wait()


def test_lock_runs_its_child_with_the_lock_and_leaves_nothing(agent: AgentProcess) -> None:
    done = agent.cli("lock", "-child-exit-code", "free", "echo $CONSUL_LOCK_HELD; exit 3")
    assert (done.returncode, done.stdout) == (2, "true\n")
    assert ask(agent, "GET", "/v1/kv/free?keys").status == 404
    many = agent.cli("lock", "-n", "2", "-shell=false", "free", "echo", "-n", "x")
    assert (many.returncode, many.stdout) == (0, "x")
    assert ask(agent, "GET", "/v1/kv/free?keys").status == 404


def test_who_disagrees_about_a_semaphore_is_told_and_leaves_nothing_behind(agent: AgentProcess, tmp_path: Path) -> None:
    process = hold(agent, "sem", "-n", "2", SLEEPER.format(file=tmp_path / "pid"))
    try:
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the child")
        keys = ask(agent, "GET", "/v1/kv/sem?keys").json()
        assert len(keys) == 2
        other = agent.cli("lock", "-n", "3", "sem", "true")
        assert (other.returncode, other.stdout) == (1, "")
        assert other.stderr == "Error: semaphore limit conflict: others hold sem/.lock with -n 2, not 3\n"
        mutex = agent.cli("lock", "sem", "true")
        assert (mutex.returncode, mutex.stdout) == (1, "")
        assert "choose another prefix" in mutex.stderr
        assert ask(agent, "GET", "/v1/kv/sem?keys").json() == keys
        assert agent.cli("lock", "-n", "2", "sem", "echo second").stdout == "second\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert ask(agent, "GET", "/v1/kv/sem?keys").status == 404
    finally:
        process.kill()
        process.wait()


def test_the_child_ends_when_the_agent_is_gone_and_nobody_can_say_who_holds_the_lock(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "agent") as lost:
        process = hold(lost, "held", "-monitor-retry=1", SLEEPER.format(file=tmp_path / "pid"))
        try:
            pid = int(
                eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the child")
            )
            lost.stop()
            _out, error = process.communicate(timeout=15)
            assert (process.returncode, is_alive(pid)) == (1, False), error
            assert "the lock was lost" in error
        finally:
            process.kill()
            process.wait()
