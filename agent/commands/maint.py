"""`chowk maint`."""

from __future__ import annotations

from typing import Any

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag
from chowk.agent.commands.output import JSON, format_flag, printable, show_json, show_line

NODE_CHECK = "_node_maintenance"
SERVICE_CHECK = "_service_maintenance:"


@make_command(
    "maint",
    examples="""
    chowk maint
    chowk maint -enable -reason='new disks'
    chowk maint -enable -service=web-1
    chowk maint -disable -service=web-1""",
)
@flag("--enable", is_flag=True, help="Begin maintenance: DNS and proxies no longer send anybody here.")
@flag("--disable", is_flag=True, help="End maintenance.")
@flag("--reason", default="", metavar="TEXT", help="Why, for others to read.")
@flag("--service", default="", metavar="ID", help="One service instance instead of the whole node.")
@format_flag
@api_flags
def command(api: ApiClient, enable: bool, disable: bool, reason: str, service: str, output_format: str) -> None:
    """Take this node or one of its services out of rotation, and back. Without flags, list what is out."""
    if enable and disable:
        raise click.UsageError("only one of -enable and -disable")
    if not enable and not disable:
        if reason or service:
            raise click.UsageError("-reason and -service need -enable or -disable")
        _show(api, output_format)
        return
    if disable and reason:
        raise click.UsageError("-reason goes with -enable only")
    path = path_of("agent", "service", "maintenance", service) if service else path_of("agent", "maintenance")
    api.put(path, {"enable": "true" if enable else "false", "reason": reason})
    state = "enabled" if enable else "disabled"
    show_line(f'Service maintenance is now {state} for "{service}"' if service else f"Node maintenance is now {state}")


def _show(api: ApiClient, output_format: str) -> None:
    checks: dict[str, dict[str, Any]] = api.get(path_of("agent", "checks"))
    found = {key: value for key, value in checks.items() if key == NODE_CHECK or key.startswith(SERVICE_CHECK)}
    if output_format == JSON:
        show_json(found)
        return
    for key in sorted(found):
        is_node = key == NODE_CHECK
        click.echo("Node:" if is_node else "Service:")
        name = found[key].get("Node", "") if is_node else key.removeprefix(SERVICE_CHECK)
        click.echo(f"  {'Name:  ' if is_node else 'ID:    '} {printable(name)}")
        click.echo(f"  Reason: {printable(found[key].get('Notes', ''))}\n")
