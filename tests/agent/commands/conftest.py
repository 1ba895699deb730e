"""`run(...)`: one command line against `agent`, a real HTTP server with canned answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from chowk.cli import run as run_cli
from support.cli_agent import CannedAgent, canned_agent

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CHOWK_", "CONSUL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def agent() -> Iterator[CannedAgent]:
    with canned_agent() as agent:
        yield agent


@pytest.fixture
def run(agent: CannedAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit code, standard output and standard error."""
    monkeypatch.setenv("CHOWK_HTTP_ADDR", agent.address)

    def run_one(*args: str) -> tuple[int, str, str]:
        code = run_cli(list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return run_one
