"""Blocked endpoints and the networks that may write."""

from __future__ import annotations

import pytest

from chowk.agent.api.access import refuse, refuse_foreign_name
from chowk.agent.api.errors import HttpError
from chowk.agent.config.model import HttpConfig

OPEN = HttpConfig()
LOCAL = HttpConfig(allow_write_from=("127.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("config", "method", "remote"),
    [
        (OPEN, "PUT", "8.8.8.8"),
        (LOCAL, "PUT", "127.9.9.9"),
        (LOCAL, "PUT", "::ffff:127.0.0.1"),
        (LOCAL, "DELETE", "fd00::1%eth0"),
        (LOCAL, "GET", "8.8.8.8"),
        (LOCAL, "HEAD", "8.8.8.8"),
        (HttpConfig(block_endpoints=("/v1/kv",)), "GET", "8.8.8.8"),
    ],
)
def test_who_is_allowed_passes(config: HttpConfig, method: str, remote: str) -> None:
    refuse(config, method, "/v1/catalog/nodes", remote)


@pytest.mark.parametrize(
    ("config", "method", "remote", "text"),
    [
        (LOCAL, "PUT", "8.8.8.8", "Access is restricted"),
        (LOCAL, "PATCH", "::1", "Access is restricted"),
        (LOCAL, "POST", "", "Access is restricted"),
        (LOCAL, "DELETE", "::ffff:8.8.8.8", "Access is restricted"),
        (LOCAL, "BREW", "not an address", "Access is restricted"),
        (
            HttpConfig(block_endpoints=("/v1/catalog",)),
            "GET",
            "127.0.0.1",
            "Endpoint is blocked by agent configuration",
        ),
    ],
)
def test_who_is_not_allowed_is_refused_403(config: HttpConfig, method: str, remote: str, text: str) -> None:
    with pytest.raises(HttpError, match=text) as caught:
        refuse(config, method, "/v1/catalog/nodes", remote)
    assert caught.value.status == 403


NAMES = ("consul", "", "host1", "proxy.example.com")


@pytest.mark.parametrize(
    "host",
    [
        "", "127.0.0.1:8500", "[::1]:8500", "localhost", "LOCALHOST:8500", "host1:8500", "agent.localhost", "10.0.0.9",
        "consul.service.consul:8500", "host1.node.CONSUL.", "proxy.example.com", "a.proxy.example.com",
    ],
)  # fmt: skip
def test_clients_may_use_an_address_or_a_name_of_ours(host: str) -> None:
    refuse_foreign_name(host, "127.0.0.1", NAMES)


@pytest.mark.parametrize("listener", ["127.0.0.1", "::1", "127.3.2.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["rebound.example:8500", "127.0.0.1.nip.io", "notconsul.x.consul.evil.example", "[bad.name"]
)
def test_a_foreign_name_does_not_reach_a_loopback_address(listener: str, host: str) -> None:
    with pytest.raises(HttpError, match=r"http_config\.allow_hosts") as refusal:
        refuse_foreign_name(host, listener, NAMES)
    assert refusal.value.status == 403


@pytest.mark.parametrize("listener", ["10.0.0.9", "", "192.168.1.5", "nonsense"])
def test_other_listeners_answer_to_every_name(listener: str) -> None:
    refuse_foreign_name("consul.example.com", listener, NAMES)
