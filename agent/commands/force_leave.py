"""`chowk force-leave`."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag
from chowk.agent.commands.output import printable


@make_command("force-leave", examples="chowk force-leave old-node\nchowk force-leave -prune old-node")
@click.argument("node")
@flag("--prune", is_flag=True, help="Remove it from the list of members altogether.")
@flag("--wan", is_flag=True, help="Also from the list of the servers of all datacenters.")
@api_flags
def command(api: ApiClient, node: str, prune: bool, wan: bool) -> None:
    """Make NODE, a member that failed and will not come back, leave the cluster."""
    query = {"prune": "1" if prune else None, "wan": "1" if wan else None}
    told = api.put(path_of("agent", "force-leave", node), query).body.decode(errors="replace").strip()
    if told:
        click.echo(printable(told), err=True)
