"""`chowk info`."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.output import JSON, format_flag, printable, show_json


@make_command("info", examples="chowk info\nchowk info -format=json")
@format_flag
@api_flags
def command(api: ApiClient, output_format: str) -> None:
    """Show the counters of the agent, and of its server where it runs one."""
    stats = api.get(path_of("agent", "self")).get("Stats") or {}
    if output_format == JSON:
        show_json(stats)
        return
    for section in sorted(stats):
        click.echo(f"{printable(section)}:")
        for name in sorted(stats[section]):
            click.echo(f"\t{printable(name)} = {printable(str(stats[section][name]))}")
