"""`chowk debug`: what is in the bundle, what it says of what could not be had, and that nothing half-written stays."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from chowk.agent.commands import debug
from chowk.agent.commands.client import ApiClient, parse_address
from chowk.agent.commands.debug_bundle import TARGETS, Bundle, Plan, capture

SELF = {"Stats": {"build": {"version": "0.1.0"}}}


@pytest.fixture(autouse=True)
def _answers(agent):
    for path in ("host", "members", "metrics", "metrics/certificates"):
        agent.on("GET", f"/v1/agent/{path}", {"path": path})
    agent.on("GET", "/v1/agent/self", SELF)
    agent.on("GET", "/v1/operator/raft/configuration", "No cluster leader", status=500)
    agent.on("GET", "/v1/operator/autopilot/state", {"Healthy": True})
    agent.on("GET", "/v1/agent/monitor", "2026 [INFO] hello\n")


def captured(
    agent, tmp_path: Path, sleep: Callable[[float], None], targets: tuple[str, ...] = TARGETS
) -> tuple[bool, Path, list[str]]:
    told: list[str] = []
    bundle = Bundle(tmp_path, "b")
    api = ApiClient(parse_address(agent.address))
    interrupted = capture(api, Plan(20.0, 5.0, targets), bundle, "0.1.0", told.append, sleep)
    bundle.keep(tmp_path / "b")
    bundle.discard()
    return interrupted, tmp_path / "b", told


def test_it_holds_each_target_and_the_metrics_of_each_interval(agent, tmp_path: Path):
    slept: list[float] = []
    interrupted, folder, _told = captured(agent, tmp_path, slept.append)
    assert not interrupted
    assert slept == [5.0, 5.0, 5.0, 5.0, 0.0]
    assert json.loads((folder / "agent.json").read_text()) == SELF
    assert json.loads((folder / "certificates.json").read_text()) == {"path": "metrics/certificates"}
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["metrics"] * 5
    assert sorted(path.name for path in folder.iterdir()) == [
        "agent.json", "autopilot.json", "certificates.json", "chowk.log", "host.json", "index.json", "members.json",
        "metrics.json",
    ]  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_without_a_leader_it_says_what_could_not_be_had(agent, tmp_path: Path):
    _interrupted, folder, told = captured(agent, tmp_path, lambda _s: None)
    [error] = json.loads((folder / "index.json").read_text())["Errors"]
    assert (error["What"], "No cluster leader" in error["Error"]) == ("raft.json", True)
    assert any("raft.json could not be had" in line for line in told)


def test_an_agent_that_dies_meanwhile_leaves_what_was_had(agent, tmp_path: Path):
    def die(_seconds: float) -> None:
        agent.on("GET", "/v1/agent/metrics", "bye", status=500)

    _interrupted, folder, _told = captured(agent, tmp_path, die)
    assert len((folder / "metrics.json").read_text().splitlines()) == 1
    errors = json.loads((folder / "index.json").read_text())["Errors"]
    assert [error["What"] for error in errors].count("metrics") == 4


def test_ctrl_c_saves_what_there_is(agent, tmp_path: Path):
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    interrupted, folder, _told = captured(agent, tmp_path, interrupt)
    assert interrupted
    index = json.loads((folder / "index.json").read_text())
    assert (index["Interrupted"], len((folder / "metrics.json").read_text().splitlines())) == (True, 1)


def test_only_what_is_named_is_captured_and_secrets_are_never_asked_for(agent, tmp_path: Path):
    _interrupted, folder, _told = captured(agent, tmp_path, lambda _s: None, ("agent", "host"))
    assert sorted(path.name for path in folder.iterdir()) == ["agent.json", "host.json", "index.json"]
    captured(agent, tmp_path / "all", lambda _s: None)
    asked = {each.path for each in agent.asked}
    for secret in ("/v1/kv", "keyring", "leaf", "ca/configuration", "token"):
        assert not any(secret in path for path in asked)


def test_the_archive_is_whole_readable_by_its_owner_alone_and_nothing_else_is_left(
    agent, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(debug.time, "sleep", lambda _s: None)
    code, out, _err = run("debug", f"-output={tmp_path / 'b'}", "-duration=10s", "-interval=10s")
    assert code == 0
    assert out.splitlines()[0] == "==> Starting debugger and capturing static information..."
    assert out.splitlines()[-1] == f"Saved debug archive: {tmp_path / 'b.tar.gz'}"
    [archive] = tmp_path.iterdir()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as tar:
        assert "b/index.json" in tar.getnames()
        assert all(name.startswith("b/") for name in tar.getnames())


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-duration=5s"], "-duration is at least 10s"),
        (["-interval=1s"], "-interval is at least 5s"),
        (["-duration=10s", "-interval=20s"], "must not be shorter"),
        (["-capture=heap"], 'nothing called "heap" can be captured'),
        (["-capture=pprof"], "nothing is left to capture"),
        (["-duration=soon"], "invalid duration"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_asked(agent, run, flags, text):
    code, _out, err = run("debug", *flags)
    assert code == 1
    assert text in err
    assert agent.asked == []


def test_what_consul_captures_by_default_is_taken_and_what_no_agent_has_is_said(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(debug.time, "sleep", lambda _s: None)
    consuls = "-capture=metrics,logs,pprof,host,agent,cluster"
    code, out, err = run("debug", f"-output={tmp_path / 'b'}", "-duration=10s", "-interval=10s", consuls)
    assert (code, "pprof is not captured" in err) == (0, True), err
    assert "Capture: 'agent, host, members, metrics, logs'" in out


def test_nothing_is_written_when_the_agent_cannot_be_asked_or_the_file_is_there(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "b.tar.gz").write_text("mine")
    code, _out, err = run("debug", f"-output={tmp_path / 'b'}")
    assert (code, "is there already" in err) == (1, True)
    monkeypatch.setenv("CHOWK_HTTP_ADDR", "127.0.0.1:1")
    code, _out, err = run("debug", f"-output={tmp_path / 'c'}")
    assert (code, "cannot ask the agent" in err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar.gz"]
