"""The leader's account of the members in the catalog: each server's node offers the service `consul`, each live node has the
check `serfHealth`. Until there is gossip the only member is this server's own agent. Called by `duties`.
"""

from __future__ import annotations

from chowk.core.commands import Register
from chowk.core.records.check import PASSING, SERF_HEALTH_ID, HealthCheck
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.server_options import ServerOptions
from chowk.server.state.store import Store

SERVICE = "consul"
ALIVE = "Agent alive and reachable"


def missing_member(store: Store, options: ServerOptions) -> Register | None:
    """What the catalog lacks of this server's own node, None when it lacks nothing or the agent has not registered yet."""
    key = options.node_name.lower()
    node: Node | None = store.nodes.get(key)
    if node is None or node.id != options.node_id:
        return None
    if (key, SERVICE) in store.services and (key, SERF_HEALTH_ID) in store.checks:
        return None
    port = int(options.address.rpartition(":")[2])
    return Register(
        node=node,
        skip_node_update=True,
        service=NodeService(id=SERVICE, service=SERVICE, port=port),
        checks=(
            HealthCheck(
                node=node.node, check_id=SERF_HEALTH_ID, name="Serf Health Status", status=PASSING, output=ALIVE
            ),
        ),
    )
