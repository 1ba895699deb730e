"""Every RPC by its name: what a server must serve, and what tests walk."""

from __future__ import annotations

from typing import Any, Final

from chowk.core import (
    chain_requests,
    cluster_requests,
    config_requests,
    coordinate_requests,
    kv_requests,
    operator_requests,
    peer_requests,
    query_requests,
    requests,
    txn_requests,
)
from chowk.core.requests import Method

MODULES: Final = (
    requests,
    chain_requests,
    cluster_requests,
    config_requests,
    coordinate_requests,
    operator_requests,
    peer_requests,
    query_requests,
    kv_requests,
    txn_requests,
)

METHODS: Final[dict[str, Method[Any, Any]]] = {
    value.name: value for module in MODULES for value in vars(module).values() if isinstance(value, Method)
}
