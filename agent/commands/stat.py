"""`chowk stat`: success, rate and latency of each edge of this host's sidecars."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag
from chowk.agent.commands.output import JSON, format_flag, show_json, show_table
from chowk.agent.commands.traffic_table import ORDERS, connection_rows, left_out_rows, request_rows


@make_command("stat", examples="chowk stat\nchowk stat web -window=30s\nchowk stat -sort=p99 -format=json")
@click.argument("service", default="")
@flag("--window", default="10s", metavar="DURATION", help="The time that is looked back, from 1s to 60s.")
@flag("--sort", "order", type=click.Choice(sorted(ORDERS)), default="name", help="What comes first.")
@format_flag
@api_flags
def command(api: ApiClient, service: str, window: str, order: str, output_format: str) -> None:
    """Show what the sidecars of this agent's host carry: one line for each edge between two services.

    Requests are counted where the protocol is http; connections always. SUCCESS is the share answered below 500. LEFT OUT
    are instances that a sidecar passes over now, for failing (passive_health_check) or because they cannot be dialled.
    """
    found = api.get(path_of("agent", "traffic"), {"service": service or None, "window": window})
    if output_format == JSON:
        show_json(found)
        return
    if not found["Edges"] and not found["Connections"]:
        click.echo("No traffic has passed the sidecars of this host" + (f" for {service}." if service else "."))
        return
    if found["Edges"]:
        show_table(request_rows(found["Edges"], order))
    if found["Connections"]:
        if found["Edges"]:
            click.echo()
        show_table(connection_rows(found["Connections"]))
    if found["LeftOut"]:
        click.echo()
        show_table(left_out_rows(found["LeftOut"]))
