"""`chowk tap`: the requests that pass this host's sidecars, as they end."""

from __future__ import annotations

import sys

import click
import msgspec

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag
from chowk.agent.commands.output import JSON, format_flag, printable, show_line
from chowk.agent.commands.traffic_table import duration


@make_command("tap", examples="chowk tap web\nchowk tap web -status=5 -path=/api\nchowk tap -peer=db -format=json")
@click.argument("service", default="")
@flag("--direction", type=click.Choice(["inbound", "outbound"]), help="Only what comes in, or goes out.")
@flag("--peer", default="", metavar="SERVICE", help="Only from or to this service.")
@flag("--method", default="", help="Only this method.")
@flag("--path", default="", metavar="PREFIX", help="Only paths that begin so.")
@flag("--status", default="", metavar="CLASS", help="Only this class, as in 5 or 5xx.")
@flag("--rate", type=click.IntRange(1, 1000), default=100, help="The most that a sidecar tells a second.")
@flag("--for", "seconds", default="10m", metavar="DURATION", help="How long; at most 1h.")
@format_flag
@api_flags
def command(
    api: ApiClient,
    service: str,
    direction: str | None,
    peer: str,
    method: str,
    path: str,
    status: str,
    rate: int,
    seconds: str,
    output_format: str,
) -> None:
    """Show live requests of services whose protocol is http, until Ctrl-C. Queries, headers and bodies are never shown."""
    query = {
        "service": service or None, "direction": direction, "peer": peer or None, "method": method or None,
        "path": path or None, "status": status or None, "rate": str(rate), "for": seconds,
    }  # fmt: skip
    try:
        for line in api.stream(path_of("agent", "tap"), query):
            if line.strip():
                if output_format == JSON:
                    click.echo(printable(line.decode(errors="replace").rstrip("\n")))
                else:
                    show_line(_row(msgspec.json.decode(line)))
                sys.stdout.flush()
    except KeyboardInterrupt:
        return


def _row(request: dict[str, object]) -> str:
    if "missed" in request:
        return f"({request['missed']} more were over the rate)"
    took = duration(float(str(request["duration"])) / 1000)
    flags = f" {request['response_flags']}" if request["response_flags"] else ""
    return (
        f"{request['start_time']}  {request['direction']:<8}  {request['source']} -> {request['destination']}  "
        f"{request['response_code'] or '---'}{flags}  {took}  {request['method'] or '(not read)'} {request['path']}".rstrip()
    )
