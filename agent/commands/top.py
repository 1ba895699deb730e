"""`chowk top`: `chowk stat`, again and again."""

from __future__ import annotations

import sys
import time

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag
from chowk.agent.commands.output import show_table
from chowk.agent.commands.traffic_table import ORDERS, connection_rows, left_out_rows, request_rows

CLEAR = "\x1b[H\x1b[2J"


@make_command("top", examples="chowk top\nchowk top web -sort=p99 -interval=2\nchowk top -count=1")
@click.argument("service", default="")
@flag("--sort", "order", type=click.Choice(sorted(ORDERS)), default="rps", help="What comes first.")
@flag("--interval", type=click.FloatRange(0.2, 60), default=1.0, help="Seconds between two looks.")
@flag("--count", type=click.IntRange(0), default=0, help="Looks until it ends; 0: until Ctrl-C.")
@api_flags
def command(api: ApiClient, service: str, order: str, interval: float, count: int) -> None:
    """Show the edges of this host's sidecars live, the busiest first, over the last ten seconds."""
    looks = 0
    while True:
        found = api.get(path_of("agent", "traffic"), {"service": service or None, "window": "10s"})
        if sys.stdout.isatty():
            click.echo(CLEAR, nl=False)
        show_table(request_rows(found["Edges"], order))
        click.echo()
        show_table(connection_rows(found["Connections"]))
        if found["LeftOut"]:
            click.echo()
            show_table(left_out_rows(found["LeftOut"]))
        sys.stdout.flush()
        looks += 1
        if looks == count:
            return
        time.sleep(interval)
        if not sys.stdout.isatty():
            click.echo()
