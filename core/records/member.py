"""A member of the cluster, as gossip knows it: one agent, of a server's host or of another."""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.core.addresses import joined

ALIVE: Final = "alive"
LEAVING: Final = "leaving"
LEFT: Final = "left"
FAILED: Final = "failed"
STATUSES: Final = ("none", ALIVE, LEAVING, LEFT, FAILED)
"""In the order of the numbers that `agent/members` shows."""

SERVER_ROLE: Final = "consul"
CLIENT_ROLE: Final = "node"
CLUSTER_TAG: Final = "cluster"


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`name` is unique; `address` and `port` are those of its gossip. `tags` as Consul names them:

    `role` (`consul` for a server, else `node`), `dc`, `id` (the node's UUID), `build`, `vsn`; a server's also `port` (of its
    RPC), `expect` (its bootstrap_expect) and, once it is part of one, `cluster`. `kept` marks a member that cannot be
    reached and is held alive on purpose, because so many vanished at once that this agent is more likely cut off than they
    are dead.
    """

    name: str
    address: str
    port: int
    status: str = ALIVE
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    kept: bool = False

    @property
    def id(self) -> str:
        """The node's UUID."""
        return self.tags.get("id", "")

    @property
    def cluster(self) -> str:
        """The name of its server's cluster, "" when it has no server, or one that is in none yet."""
        return self.tags.get(CLUSTER_TAG, "")

    @property
    def is_server(self) -> bool:
        """Whether a server runs there."""
        return self.tags.get("role") == SERVER_ROLE

    @property
    def rpc_address(self) -> str:
        """`host:port` (`[v6]:port`) of its server's RPC; "" when it has none."""
        port = self.tags.get("port", "")
        if not self.is_server or not port.isdigit():
            return ""
        return joined(self.address, port)
