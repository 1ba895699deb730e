"""`chowk reload`."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command


@make_command("reload", examples="chowk reload")
@api_flags
def command(api: ApiClient) -> None:
    """Make the agent read its configuration files again. Files with errors change nothing, and are told."""
    api.put(path_of("agent", "reload"))
    click.echo("Configuration reload triggered")
