"""What the catalog owes to membership, by Consul's rules. Pure: no time, no writes. Called by `members`.

| gossip says       | the catalog gets                                                                                |
|-------------------|-------------------------------------------------------------------------------------------------|
| alive             | the node and its check `serfHealth` passing; a server's also the service `consul`, no other's   |
| failed            | `serfHealth` critical                                                                           |
| left, or reaped   | the node removed, with all it has: never this server's own, never one without `serfHealth`      |
| leaving, or kept  | no change                                                                                       |

A node that is there already keeps what its agent registered. A plan for a catalog that is right already is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from chowk.core import limits
from chowk.core.commands import Deregister, Register
from chowk.core.errors import InvalidRequest
from chowk.core.records.check import CRITICAL, PASSING, SERF_HEALTH_ID, HealthCheck
from chowk.core.records.member import ALIVE, FAILED, LEFT, Member
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.server.leader.membership import ALIVE as ALIVE_OUTPUT
from chowk.server.leader.membership import SERVICE
from chowk.server.state.store import Store

FAILED_OUTPUT = "Agent not live or unreachable"


@dataclass(frozen=True)
class Plan:
    """`writes` in order of the members' names; `refused` says in words which members are left out, and why."""

    writes: tuple[Register | Deregister, ...]
    refused: tuple[str, ...]


def plan(
    store: Store, members: Mapping[str, Member], gone: Iterable[str], own_name: str, datacenter: str, writes_max: int
) -> Plan:
    """What to write next, `writes_max` at most. `gone` are names that gossip has forgotten."""
    writes: list[Register | Deregister] = []
    refused: list[str] = []
    claims = Counter(member.id for member in members.values() if member.status == ALIVE and member.id)
    for member in sorted(members.values(), key=lambda each: each.name):
        if len(writes) >= writes_max:
            break
        if member.kept or member.tags.get("dc", datacenter) != datacenter:
            continue
        try:
            write = _owed(store, member, own_name, datacenter, claims[member.id])
        except InvalidRequest as error:
            refused.append(f"{member.name}: {error}")
            continue
        if write is not None:
            writes.append(write)
    present = {name.lower() for name in members}
    for name in sorted(gone):
        if name.lower() not in present and len(writes) < writes_max:
            removal = _removal(store, name, own_name)
            if removal is not None:
                writes.append(removal)
    return Plan(tuple(writes), tuple(refused))


def unknown_nodes(store: Store, members: Mapping[str, Member], own_name: str) -> frozenset[str]:
    """The nodes that gossip once spoke of (they have `serfHealth`), and does not know now."""
    present = {own_name.lower(), *(name.lower() for name in members)}
    return frozenset(
        node.node for key, node in store.nodes.items() if key not in present and (key, SERF_HEALTH_ID) in store.checks
    )


def _owed(store: Store, member: Member, own_name: str, datacenter: str, claims: int) -> Register | Deregister | None:
    """`claims` is how many live members have this one's node id."""
    if member.status == ALIVE:
        return _alive(store, member, datacenter, claims > 1)
    if member.status == FAILED and not claims:
        return _failed(store, member)
    if member.status == LEFT and _is_of(store, member):
        return _removal(store, member.name, own_name)
    return None


def _is_of(store: Store, member: Member) -> bool:
    """Whether the catalog's node of that name is this member's, and not that of a host which took the name."""
    node = store.nodes.get(member.name.lower())
    return node is not None and (not node.id or not member.id or node.id == member.id)


def _alive(store: Store, member: Member, datacenter: str, is_shared: bool) -> Register | Deregister | None:
    key = member.name.lower()
    node = store.nodes.get(key)
    _check(store, member, node, is_shared)
    service = _service(member)
    known = store.services.get((key, SERVICE))
    if node is not None and _is_of(store, member):
        # A server without a port (-dev) offers the service all the same: `own_node` sees to that.
        if not member.is_server and known is not None and known.service == SERVICE and _managed(store, key):
            return Deregister(node=node.node, service_id=SERVICE)
        check = store.checks.get((key, SERF_HEALTH_ID))
        is_served = service is None or (known is not None and known.port == service.port)
        if is_served and check is not None and check.status == PASSING:
            return None
        written, keep = node, True
    else:
        # A new one, unless its agent was faster and said more of it; or a host that was set up anew under its old name,
        # which begins with nothing but its address.
        written = Node(id=member.id, node=member.name, address=member.address, datacenter=datacenter)
        keep = node is None
    return Register(node=written, service=service, checks=(_health(written, PASSING),), skip_node_update=keep)


def _check(store: Store, member: Member, node: Node | None, is_shared: bool) -> None:
    """InvalidRequest when this member may not have the name or the id that it claims."""
    limits.check_node_name(member.name)
    limits.check_address(member.address, "node address")
    if member.id:
        try:
            UUID(member.id)
        except ValueError as error:
            raise InvalidRequest(f"Bad node ID: {member.id!r} is not a UUID") from error
    key = member.name.lower()
    owner = store.node_ids.get(member.id) if member.id else None
    if is_shared and owner is not None and owner != key:
        raise InvalidRequest(
            f"its node id {member.id} is that of the live node {owner}, too: was a data_dir copied? "
            "Stop one of the two, and remove the file node-id of its data_dir"
        )
    if node is None or _is_of(store, member) or node.address == member.address:
        return
    check = store.checks.get((key, SERF_HEALTH_ID))
    if check is not None and check.status != CRITICAL:
        raise InvalidRequest(
            f"Node name {member.name} is reserved by node {node.id} with name {node.node} ({node.address})"
        )


def _service(member: Member) -> NodeService | None:
    port = member.tags.get("port", "")
    if not member.is_server or not port.isascii() or not port.isdigit():
        return None
    limits.check_port(int(port), "server port")
    return NodeService(id=SERVICE, service=SERVICE, port=int(port))


def _failed(store: Store, member: Member) -> Register | None:
    key = member.name.lower()
    node = store.nodes.get(key)
    check = store.checks.get((key, SERF_HEALTH_ID))
    if node is None or not _is_of(store, member) or (check is not None and check.status == CRITICAL):
        return None
    return Register(node=node, skip_node_update=True, checks=(_health(node, CRITICAL),))


def _removal(store: Store, name: str, own_name: str) -> Deregister | None:
    key = name.lower()
    node = store.nodes.get(key)
    if node is None or key == own_name.lower() or not _managed(store, key):
        return None
    return Deregister(node=node.node)


def _managed(store: Store, key: str) -> bool:
    return (key, SERF_HEALTH_ID) in store.checks


def _health(node: Node, status: str) -> HealthCheck:
    output = ALIVE_OUTPUT if status == PASSING else FAILED_OUTPUT
    return HealthCheck(node=node.node, check_id=SERF_HEALTH_ID, name="Serf Health Status", status=status, output=output)
