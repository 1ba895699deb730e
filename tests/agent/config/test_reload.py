from __future__ import annotations

import msgspec

from chowk.agent.config.build import build
from chowk.agent.config.host import Host
from chowk.agent.config.model import AgentConfig
from chowk.agent.config.reload import reload_diff
from chowk.core.definitions import ServiceDefinition


def config(**flags: object) -> AgentConfig:
    return build([], [], {"dev": True, **flags}, host=Host(name="h"))


def test_nothing_is_told_of_what_a_reload_applies() -> None:
    new = msgspec.structs.replace(
        config(log_level="debug", node_meta={"a": "b"}, discard_check_output=True),
        services=(ServiceDefinition(name="w"),),
    )
    assert reload_diff(config(), new) == ()


def test_what_only_a_restart_changes_is_told_by_its_key() -> None:
    new = config(**{"ports.http": 1, "datacenter": "dc2", "domain": "x", "client_addr": "::1", "connect.launch": False})
    assert reload_diff(config(), new) == (
        "addresses.dns", "addresses.http", "addresses.https", "connect.launch", "datacenter", "dns.domain", "ports.http",
    )  # fmt: skip
