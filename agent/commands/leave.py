"""`chowk leave`."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command


@make_command("leave", examples="chowk leave")
@api_flags
def command(api: ApiClient) -> None:
    """Make the agent leave its cluster and stop."""
    api.put(path_of("agent", "leave"))
    click.echo("Graceful leave complete")
