"""Sharing: equal parts of a view's instances are one object, what differs stays its own, and what is gone is let go."""

from __future__ import annotations

from chowk.agent.views.sharing import SLACK, SharedNodes
from chowk.core import codec
from chowk.core.events import InstanceItem
from chowk.core.records.check import HealthCheck
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService


def item(number: int, node: str = "n", address: str = "10.0.0.1", **check: str) -> InstanceItem:
    """As it comes off the wire: nothing is shared."""
    name = f"web-{number}"
    own = {"node": node, "check_id": "c", "name": "alive", "service_id": name, "service_name": "web", **check}
    instance = ServiceInstance(
        node=Node(node=node, address=address, meta={"rack": "7"}),
        service=NodeService(id=name, service="web", tags=("v1",)),
        checks=(HealthCheck(**own, service_tags=("v1",)), HealthCheck(node=node, check_id="serfHealth", name="s")),  # type: ignore[arg-type]
    )
    return codec.unpack(codec.pack(InstanceItem(instance=instance)), InstanceItem)


def share(nodes: SharedNodes, given: InstanceItem) -> InstanceItem:
    found = nodes.share(given)
    assert found == given
    assert isinstance(found, InstanceItem)
    return found


def test_instances_of_a_node_share_it_and_checks_share_names() -> None:
    nodes = SharedNodes()
    first, second = share(nodes, item(1)).instance, share(nodes, item(2)).instance
    assert first.node is second.node
    check = first.checks[0]
    assert check.service_id is first.service.id
    assert check.service_name is first.service.service
    assert check.service_tags is first.service.tags
    assert second.service.tags is first.service.tags
    assert second.checks[0].name is check.name
    assert second.checks[1].name is first.checks[1].name


def test_what_differs_stays_its_own() -> None:
    nodes = SharedNodes()
    old, new = share(nodes, item(1)), share(nodes, item(1, address="10.0.0.9"))
    assert (old.instance.node.address, new.instance.node.address) == ("10.0.0.1", "10.0.0.9")
    share(nodes, item(1, service_id="other"))
    share(nodes, item(1, node="n", service_name="api"))


def test_nodes_that_are_gone_are_let_go() -> None:
    nodes = SharedNodes()
    kept = share(nodes, item(0))
    for number in range(3 * SLACK):
        share(nodes, item(number, node=f"n{number}"))
        nodes.trim([kept], 1)
    assert len(nodes) <= SLACK + 3
