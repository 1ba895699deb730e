"""`chowk catalog datacenters|nodes|services`."""

from __future__ import annotations

from typing import Any

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, Query, path_of
from chowk.agent.commands.command import Failure, Group, flag
from chowk.agent.commands.documents import parse_pairs
from chowk.agent.commands.output import JSON, format_flag, show_json, show_line, show_table

SHORT_ID = 8

command = Group("catalog", help="List datacenters, nodes and services of the catalog.")


@command.command("datacenters", examples="chowk catalog datacenters")
@format_flag
@api_flags
def datacenters(api: ApiClient, output_format: str) -> None:
    """List the known datacenters, one a line."""
    names = api.get(path_of("catalog", "datacenters"))
    if output_format == JSON:
        show_json(names)
        return
    for name in names:
        show_line(name)


@command.command(
    "nodes",
    examples="chowk catalog nodes\nchowk catalog nodes -service=web -detailed\nchowk catalog nodes -near=_agent",
)
@flag("--detailed", is_flag=True, help="Show whole ids, tagged addresses and meta.")
@flag("--service", default="", metavar="NAME", help="Only nodes with an instance of this service.")
@flag("--near", default="", metavar="NODE", help="Nearest to this node first; _agent is the agent's own.")
@flag("--node-meta", multiple=True, metavar="KEY=VALUE", help="Only nodes with this meta. May be repeated.")
@flag("--filter", default="", metavar="EXPRESSION", help="Only nodes for which this holds.")
@format_flag
@api_flags
def nodes(
    api: ApiClient, detailed: bool, service: str, near: str, node_meta: tuple[str, ...], filter: str, output_format: str
) -> None:
    """List the nodes of the catalog."""
    query: Query = {"near": near, "filter": filter, "node-meta": _meta(node_meta)}
    path = path_of("catalog", "service", service) if service else path_of("catalog", "nodes")
    found = {node["Node"]: node for node in api.get(path, query)}
    listed = list(found.values())
    if output_format == JSON:
        show_json(listed)
    elif not listed:
        show_line("No nodes match the given query - try expanding your search.")
    elif detailed:
        rows = [["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]]
        rows += [[*_brief(node), _pairs(node.get("TaggedAddresses")), _pairs(_meta_of(node))] for node in listed]
        show_table(rows)
    else:
        show_table([["Node", "ID", "Address", "DC"], *(_brief(node, SHORT_ID) for node in listed)])


@command.command(
    "services", examples="chowk catalog services\nchowk catalog services -tags\nchowk catalog services -node=db-1"
)
@flag("--tags", is_flag=True, help="Show each service's tags.")
@flag("--node", default="", metavar="NAME", help="Only services of this node.")
@flag("--node-meta", multiple=True, metavar="KEY=VALUE", help="Only services of nodes with this meta. May be repeated.")
@format_flag
@api_flags
def services(api: ApiClient, tags: bool, node: str, node_meta: tuple[str, ...], output_format: str) -> None:
    """List the names of the services in the catalog, one a line."""
    names = _of_node(api, node) if node else api.get(path_of("catalog", "services"), {"node-meta": _meta(node_meta)})
    if output_format == JSON:
        show_json(names)
    elif not names:
        show_line("No services match the given query - try expanding your search.")
    elif tags:
        show_table([name, ",".join(sorted(names[name]))] for name in sorted(names))
    else:
        for name in sorted(names):
            show_line(name)


def _of_node(api: ApiClient, node: str) -> dict[str, list[str]]:
    found = api.get(path_of("catalog", "node", node))
    if not found:
        raise Failure(f'there is no node "{node}" in the catalog')
    names: dict[str, set[str]] = {}
    for service in (found.get("Services") or {}).values():
        names.setdefault(service["Service"], set()).update(service.get("Tags") or ())
    return {name: sorted(tags) for name, tags in names.items()}


def _brief(node: dict[str, Any], id_length: int | None = None) -> list[str]:
    return [node["Node"], node.get("ID", "")[:id_length], node.get("Address", ""), node.get("Datacenter", "")]


def _meta_of(node: dict[str, Any]) -> dict[str, str] | None:
    return node.get("Meta", node.get("NodeMeta"))


def _meta(pairs: tuple[str, ...]) -> list[str]:
    return [f"{key}:{value}" for key, value in parse_pairs(pairs, "node-meta").items()]


def _pairs(values: dict[str, str] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((values or {}).items()))
