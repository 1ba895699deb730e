"""`chowk rtt`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import msgspec

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, flag
from chowk.agent.commands.command import command as make_command
from chowk.core.records.coordinate import Coordinate

Places = dict[tuple[str, str], Coordinate]
"""(area, node as the user names it) -> where it is."""
MS_PER_S = 1000


@make_command("rtt", examples="chowk rtt web-1\nchowk rtt web-1 web-2\nchowk rtt -wan server-1.dc1 server-2.dc1")
@click.argument("nodes", nargs=-1, metavar="NODE [NODE]")
@flag("--wan", is_flag=True, help="Between servers, named NODE.DATACENTER.")
@api_flags
def command(api: ApiClient, nodes: tuple[str, ...], wan: bool) -> None:
    """Estimate the network round-trip time between two nodes; between one and the agent's own when one is given."""
    if not 1 <= len(nodes) <= 2:
        raise Failure("One or two node names must be specified")
    if wan and not all(node.count(".") == 1 for node in nodes):
        raise Failure("Node names must be specified as <node name>.<datacenter> with -wan")
    if len(nodes) < 2:
        own = api.get(path_of("agent", "self"))["Config"]
        nodes = (*nodes, f"{own['NodeName']}.{own['Datacenter']}" if wan else own["NodeName"])
    one, two = _pair(_servers(api) if wan else _nodes(api), *nodes)
    rtt_ms = one.rtt_s(two) * MS_PER_S
    click.echo(
        f"Estimated {nodes[0]} <-> {nodes[1]} rtt: {rtt_ms:.3f} ms (using {'WAN' if wan else 'LAN'} coordinates)"
    )


def _nodes(api: ApiClient) -> Places:
    return _placed("", api.get(path_of("coordinate", "nodes")), "")


def _servers(api: ApiClient) -> Places:
    found: Places = {}
    for area in api.get(path_of("coordinate", "datacenters")):
        found |= _placed(area["AreaID"], area["Coordinates"] or (), f".{area['Datacenter']}")
    return found


def _placed(area: str, rows: Iterable[Any], suffix: str) -> Places:
    try:
        found = {(area, row["Node"] + suffix): msgspec.convert(row["Coord"], Coordinate) for row in rows}
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise Failure(f"Error getting coordinates: {error}") from error
    return {name: coordinate for name, coordinate in found.items() if not coordinate.problem}


def _pair(places: Places, first: str, second: str) -> tuple[Coordinate, Coordinate]:
    """Both, of one area: between two there is no distance."""
    for area, _node in places:
        one, two = places.get((area, first)), places.get((area, second))
        if one is not None and two is not None:
            return one, two
    known = {node for _area, node in places}
    missing = next((node for node in (first, second) if node not in known), "")
    if missing:
        raise Failure(f'Could not find a coordinate for node "{missing}"')
    raise Failure(f'"{first}" and "{second}" are in no area together')
