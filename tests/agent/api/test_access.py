"""Blocked endpoints and the networks that may write."""

from __future__ import annotations

import pytest

from chowk.agent.api.access import refuse
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
