"""The instances in a `health` or `connect` view, in the order everybody lists them. Called by `agent.lookup` and the API."""

from __future__ import annotations

from chowk.agent.views.views import View
from chowk.core.events import InstanceItem
from chowk.core.records.instance import ServiceInstance


def instances_of(view: View) -> tuple[ServiceInstance, ...]:
    """Ordered by node name, then service id; computed once a change."""
    return view.memo("instances", _sorted)


def _sorted(view: View) -> tuple[ServiceInstance, ...]:
    found = [item.instance for item in view.items.values() if isinstance(item, InstanceItem)]
    return tuple(sorted(found, key=lambda instance: (instance.node.node, instance.service.id)))
