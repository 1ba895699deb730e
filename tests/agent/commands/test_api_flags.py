"""The flags and variables of every command that talks with an agent: Consul's names, and what has no place here."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest


@pytest.mark.parametrize("prefix", ["CHOWK", "CONSUL"])
def test_the_variables_of_consul_reach_the_request(
    run, agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str
) -> None:
    agent.on("GET", "/v1/catalog/datacenters", ["dc1"])
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.delenv("CHOWK_HTTP_ADDR")
    monkeypatch.setenv(f"{prefix}_HTTP_ADDR", agent.address)
    monkeypatch.setenv(f"{prefix}_HTTP_AUTH", "user:pass:word")
    monkeypatch.setenv(f"{prefix}_HTTP_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv(f"{prefix}_NAMESPACE", "default")
    assert run("catalog", "datacenters")[0] == 0
    headers = agent.asked[-1].headers
    assert headers["X-Consul-Token"] == "from-a-file"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"user:pass:word"


@pytest.mark.parametrize("args", [["-namespace=team"], ["-ns", "team"], ["-partition=team"], ["--ap=team"]])
def test_a_namespace_or_partition_is_refused_before_anything_is_sent(run, agent, args: list[str]) -> None:
    code, out, err = run("kv", "put", "a", "b", *args)
    assert (code, out) == (1, "")
    assert 'can only be "default"' in err
    assert agent.asked == []


def test_a_namespace_of_the_environment_is_refused_too(run, agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_PARTITION", "team")
    assert 'there are no partitions: -partition="team"' in run("catalog", "services")[2]
    assert agent.asked == []


def test_a_flag_that_means_nothing_here_is_a_warning(run, agent) -> None:
    agent.on("GET", "/v1/agent/members", [])
    assert "Warning: -segment has no effect: there are no segments." in run("members", "-segment=x")[2]
    assert "Warning" not in run("members")[2]


def test_switches_of_every_command_take_go_s_values(run, agent) -> None:
    agent.on("GET", "/v1/agent/members", [])
    for args in (["-wan=true"], ["-wan"], ["--wan=1"]):
        run("members", *args)
        assert agent.asked[-1].query == {"wan": ["1"]}
    for args in ([], ["-wan=false"], ["-wan", "-wan=0"]):
        run("members", *args)
        assert agent.asked[-1].query == {}
