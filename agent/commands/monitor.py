"""`chowk monitor`."""

from __future__ import annotations

import sys

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag

LEVELS = ["trace", "debug", "info", "warn", "error"]


@make_command("monitor", examples="chowk monitor\nchowk monitor -log-level=debug -log-json")
@flag("--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="info", help="The least level to show.")
@flag("--log-json", is_flag=True, help="One JSON object a line.")
@api_flags
def command(api: ApiClient, log_level: str, log_json: bool) -> None:
    """Show the agent's log as it is written, until Ctrl-C."""
    query = {"loglevel": log_level.lower(), "logjson": "true" if log_json else None}
    try:
        for line in api.stream(path_of("agent", "monitor"), query):
            sys.stdout.write(line.decode(errors="replace"))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return
    click.echo("The agent ended the log.", err=True)
