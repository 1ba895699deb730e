"""`chowk watch`: once without a child, and as a process that runs one at each change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROW = {"Key": "a", "Flags": 2**64 - 1, "Value": "eA==", "LockIndex": 0, "CreateIndex": 3, "ModifyIndex": 3}


@pytest.fixture(autouse=True)
def _self(agent):
    agent.on("GET", "/v1/agent/self", {})
    agent.headers["X-Consul-Index"] = "3"


def test_without_a_child_the_value_is_shown_once(agent, run):
    agent.on("GET", "/v1/kv/a", [ROW])
    code, out, err = run("watch", "-type=key", "-key=a")
    assert (code, json.loads(out), err) == (0, ROW, "")
    assert out.startswith('{\n    "Key": "a"')


def test_flags_become_parameters(agent, run):
    agent.on("GET", "/v1/health/service/web", [])
    code, out, _err = run(
        "watch", "-type", "service", "-service", "web", "-tag=x", "-tag=y", "-passingonly=true", "-stale", "-token=t"
    )
    assert (code, out) == (0, "[]\n")
    assert agent.last.query == {"tag": ["x", "y"], "passing": ["1"], "stale": ["1"]}
    assert agent.last.headers["X-Consul-Token"] == "t"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-type=pods"], "unsupported watch type"),
        (["-type=key"], "a watch of type key needs one key"),
        (["-type=agent_service"], "a watch of type agent_service needs one service"),
        (["-type=nodes", "-key=x"], "a watch of type nodes takes no key"),
        (["-type=checks", "-service=a", "-state=any"], "service or state, not both"),
        ([], "Missing option"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_asked(agent, run, flags, text):
    code, _out, err = run("watch", *flags)
    assert code == 1
    assert text in err
    assert agent.asked == []


def test_an_agent_that_cannot_be_reached_ends_it(run, monkeypatch):
    monkeypatch.setenv("CHOWK_HTTP_ADDR", "127.0.0.1:1")
    code, _out, err = run("watch", "-type=nodes", "true")
    assert code == 1
    assert "Error querying the agent: cannot reach" in err


def test_an_answer_that_will_not_change_by_itself_ends_a_single_look(agent, run):
    agent.on("GET", "/v1/health/state/any", "Permission denied", status=403)
    code, _out, err = run("watch", "-type=checks")
    assert code == 1
    assert "403 (Permission denied)" in err


def started(agent, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CHOWK_HTTP_ADDR": agent.address, "SHELL": "/bin/sh"}
    return subprocess.Popen(
        [sys.executable, "-m", "chowk", "watch", *arguments], env=environment, stdout=subprocess.PIPE
    )


def test_a_child_gets_the_json_and_the_index_and_sigterm_ends_both(agent, tmp_path: Path):
    agent.on("GET", "/v1/kv/a", [ROW])
    line = "cat; echo $CONSUL_INDEX; trap 'echo asked; exit 3' TERM; echo up; sleep 60 & wait"
    with started(agent, "-type=key", "-key=a", line) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == ROW
        assert process.stdout.readline() == b"3\n"
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"asked\n"
        assert process.wait(10) == 0


def test_without_a_shell_the_child_is_run_as_it_stands(agent):
    agent.on("GET", "/v1/catalog/nodes", [])
    with started(agent, "-type=nodes", "-shell=false", "/bin/echo", "-n", "$CONSUL_INDEX", "a  b") as process:
        assert process.stdout is not None
        assert process.stdout.read(18) == b"$CONSUL_INDEX a  b"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
