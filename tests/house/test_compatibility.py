"""What docs/compatibility.md says is served is what is served: endpoints, DNS forms, commands."""

from __future__ import annotations

import re
from pathlib import Path

from chowk.agent.api.routes import ROUTES
from chowk.cli import COMMANDS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "compatibility.md").read_text()
ENDPOINT = re.compile(r"^\| `([A-Z, ]+) (/v1/\S+)` \|", re.MULTILINE)
PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_endpoints_of_the_document_are_those_of_the_route_table() -> None:
    told = {(method, path) for methods, path in ENDPOINT.findall(TEXT) for method in methods.split(", ")}
    served = {(method, PARAMETER.sub(r":\1", route.path)) for route in ROUTES for method in route.methods}
    assert sorted(told) == sorted(served)


def test_no_command_that_is_there_is_told_to_be_missing() -> None:
    missing = re.findall(r"`([a-z]+)`", section("Command line").partition("**Not yet**")[2])
    assert missing
    assert [name for name in missing if name in COMMANDS] == []


def test_each_metric_that_is_told_is_one_that_the_agent_makes() -> None:
    """Names are put together of their parts: the last one stands in the source as it is."""
    root = Path(__file__).resolve().parents[2]
    source = "\n".join(path.read_text() for room in ("agent", "connect") for path in root.joinpath(room).rglob("*.py"))
    told = set(re.findall(r"`chowk_([a-z_]+)`", section("Metrics")))
    assert len(told) > 15
    assert [name for name in told if not _is_made(name, source)] == []


def _is_made(name: str, source: str) -> bool:
    whole = name.removesuffix("_total").removesuffix("_seconds")
    last = re.sub(r"^(agent_loop|server_loop|gossip|mesh|dns)_", "", whole)
    return any(re.search(rf'["_}}]{each}(_total|_seconds)?"', source) for each in (f"chowk_{whole}", whole, last))
