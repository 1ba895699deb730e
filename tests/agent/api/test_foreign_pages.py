"""Who may write: never a page of another site that found its way into a browser on this host."""

from __future__ import annotations

import pytest

from chowk.agent.api.access import refuse_foreign_page
from chowk.agent.api.errors import HttpError


@pytest.mark.parametrize(
    ("method", "origin", "host"),
    [
        ("PUT", "", "127.0.0.1:8500"), ("POST", "http://127.0.0.1:8500", "127.0.0.1:8500"),
        ("DELETE", "http://localhost:8500", "localhost:8500"), ("PUT", "http://host1:8500", "host1:8500"),
        ("PUT", "http://[::1]:8500", "[::1]:8500"), ("GET", "https://elsewhere.example", "127.0.0.1:8500"),
    ],
)  # fmt: skip
def test_clients_and_our_own_pages_may_write(method: str, origin: str, host: str) -> None:
    refuse_foreign_page(method, origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://elsewhere.example", "127.0.0.1:8500"), ("null", "127.0.0.1:8500"),
        ("http://127.0.0.1:9999", "127.0.0.1:8500"),
        ("http://rebound.example:8500", "rebound.example:8500"),
        ("http://[", "127.0.0.1:8500"), ("http://127.0.0.1:8500", ""),
    ],
)  # fmt: skip
def test_a_page_of_another_site_may_not_write(origin: str, host: str) -> None:
    with pytest.raises(HttpError) as refusal:
        refuse_foreign_page("POST", origin, host)
    assert refusal.value.status == 403
