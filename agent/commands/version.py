"""`chowk version`."""

from __future__ import annotations

import platform

import click

from chowk import __version__
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.output import JSON, format_flag, show_json

PROTOCOL = 2
PROTOCOL_MAX = 3


@make_command("version", examples="chowk version\nchowk version -format=json")
@format_flag
def command(output_format: str) -> None:
    """Show the version of chowk."""
    if output_format == JSON:
        show_json({"Version": __version__, "Prerelease": "", "Python": platform.python_version(), "Protocol": PROTOCOL})
        return
    click.echo(f"chowk v{__version__}")
    click.echo(f"Python {platform.python_version()}")
    click.echo(f"Protocol {PROTOCOL} spoken by default, understands {PROTOCOL} to {PROTOCOL_MAX}")
