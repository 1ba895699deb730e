"""`chowk join`."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, ApiError, path_of
from chowk.agent.commands.command import Failure, flag
from chowk.agent.commands.command import command as make_command


@make_command("join", examples="chowk join 10.0.0.11\nchowk join 10.0.0.11 10.0.0.12:8301")
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@flag("--wan", is_flag=True, help="Join servers of another datacenter.")
@api_flags
def command(api: ApiClient, addresses: tuple[str, ...], wan: bool) -> None:
    """Tell the agent to join the cluster of the agents at these addresses. One that answers is enough."""
    joined = 0
    for address in addresses:
        try:
            api.put(path_of("agent", "join", address), {"wan": "1" if wan else None})
            joined += 1
        except ApiError as error:
            click.echo(f"Error joining address '{address}': {error.text or error}", err=True)
    if not joined:
        raise Failure("Failed to join any nodes.")
    click.echo(f"Successfully joined cluster by contacting {joined} nodes.")
