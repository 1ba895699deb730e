"""Who may write and read: never a page of another site that found its way into a browser on this host."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chowk.agent.api.access import refuse_foreign_page
from chowk.agent.api.errors import HttpError
from chowk.agent.config.model import HttpConfig
from chowk.core.requests import CATALOG_NODES, NodesReply, QueryMeta
from support.http_api import Api, with_api


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


def test_a_page_of_a_rebound_name_reads_nothing_until_the_name_is_allowed(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(CATALOG_NODES, NodesReply(meta=QueryMeta(index=7), nodes=()))
        for path in ("/v1/catalog/nodes", "/v1/kv/a", "/v1/health/service/web", "/v1/nope"):
            refusal = await api.get(path, headers={"Host": "rebound.example:8500"})
            assert (refusal.status, "http_config.allow_hosts" in refusal.text) == (403, True), path
        assert api.server.calls == []
        for name in ("n1.node.consul", "n1", "localhost:8500", "[::1]:8500"):
            assert (await api.get("/v1/catalog/nodes", headers={"Host": name})).status == 200
        allowed = HttpConfig(allow_hosts=("rebound.example",))
        api.config = msgspec.structs.replace(api.config, http=allowed)
        assert (await api.get("/v1/catalog/nodes", headers={"Host": "Rebound.Example:8500"})).status == 200

    with_api(tmp_path, body)
