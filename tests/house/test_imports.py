"""The import table of docs/architecture.md: what each room may import of the others. One way, no shortcuts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# room -> the rooms it may import besides itself; the longest matching name decides.
CONNECT_CORES = (
    "connect.ca",
    "connect.intentions",
    "connect.balance",
    "connect.limits",
    "connect.snapshot",
    "connect.chain",
    "connect.entries",
    "connect.http1",
    "connect.routing",
    "connect.stats",
)
ALLOWED: dict[str, tuple[str, ...]] = {
    "core": (),
    "server.raft": (),
    "server.state": ("core", "connect.intentions"),
    "server.stream": ("core",),
    "server.storage": ("core", "server.raft"),
    "server.rpc": ("core", "server.state", "server.stream", "server.port", *CONNECT_CORES),
    "server.leader": ("core", "server.state", "server.stream", "server.port", "server.rpc", *CONNECT_CORES),
    "server.port": ("core",),
    "server.driver": ("core", "server.port", "server.raft", "server.storage"),
    "server.peers": ("core", "server.port", "server.raft", "server.storage", "server.driver"),
    "server.consensus": ("core", "server"),
    "server.server": ("core", "server", *CONNECT_CORES),
    "server.main": ("core", "server", *CONNECT_CORES),
    "connect.snapshot": ("core",),
    "connect.control": ("core", "connect.snapshot", "connect.stats"),
    "connect.ca": ("core", "connect.snapshot"),
    "connect.http1": (),
    "connect.intentions": ("core", "connect.http1", "connect.routing"),
    "connect.routing": ("core", "connect.http1", "connect.snapshot"),
    "connect.chain": ("core", "connect.snapshot"),
    "connect.entries": ("core", "connect.http1", "connect.intentions.validation"),
    "connect.balance": ("core", "connect.snapshot"),
    "connect.limits": ("core", "connect.snapshot"),
    "connect.stats": (),
    "connect.proxy": ("core", "connect.control", *CONNECT_CORES),
    "dns": ("core",),
    "agent.config": ("core", "connect.entries", "connect.intentions.validation"),
    "agent.local": ("core", "agent.config"),
    "agent.checks": ("core", "agent.local", "agent.config.model"),
    "agent.client": ("core",),
    "agent.views": ("core", "agent.client"),
    "agent.sync": ("core", "agent.local", "agent.client"),
    "agent.proxies": ("core", "agent.local", "agent.client", "agent.views", "agent.config.model", "connect"),
    "agent.gossip": ("core",),
    "agent.watches": ("core", "agent.config.model", "agent.checks", "agent.children"),
    "agent.telemetry": ("core", "agent.config.model"),
    "agent.identity": ("core",),
    "agent.expiry": ("core", "agent.local", "agent.api.agent_certificates"),
    "agent.config_watch": ("core", "agent.config"),
    "agent.log_stream": ("core",),
    "agent.lookup": ("core", "agent.views", "agent.client", "dns.lookup"),
    "agent.workers": (
        "core", "agent.children", "agent.client", "agent.views", "agent.lookup", "agent.cluster", "agent.config.model",
        "dns",
    ),
    "agent.api": (
        "core", "agent.config", "agent.local", "agent.client", "agent.views", "agent.checks", "agent.proxies",
        "agent.gossip", "agent.log_stream", "agent.telemetry.naming", "connect.control", *CONNECT_CORES,
    ),
    "agent.cluster": ("core", "agent.gossip", "agent.client", "agent.config.model", "agent.api.members"),
    "agent.boot": ("core", "agent", "dns", "connect", "server"),
    "agent.children": ("core", "agent"),
    "agent.commands": ("core", "agent", "connect"),
    "cli": ("agent.commands",),
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def rule_of(module: str) -> str | None:
    matches = [room for room in ALLOWED if module == room or module.startswith(room + ".")]
    return max(matches, key=len, default=None)


def imports_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


SOURCES = sorted(
    path
    for room in ("core", "server", "connect", "dns", "agent")
    for path in (ROOT / room).rglob("*.py")
    if path.name != "__init__.py"
) + [ROOT / "cli.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    module = module_name(path)
    room = rule_of(module)
    assert room is not None, f"{module} belongs to no room of the import table"
    allowed = (room, *ALLOWED[room])
    for line, name in imports_of(path):
        if name in ("chowk", "chowk.__version__"):
            continue
        assert name.split(".")[0] not in ("core", "server", "connect", "dns", "agent"), (
            f"{path}:{line} bare import {name}"
        )
        if name.startswith("chowk."):
            target = name.removeprefix("chowk.")
            if not any(target == rule or target.startswith(rule + ".") for rule in allowed):
                pytest.fail(f"{module} (room {room}) may not import {target} (line {line})")
