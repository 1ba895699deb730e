"""`chowk event`."""

from __future__ import annotations

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.command import flag


@make_command("event", examples="chowk event -name=deploy 1.4.2\nchowk event -name=reload -service=web -node='^eu-'")
@click.argument("payload", default="")
@flag("--name", required=True, metavar="NAME", help="The event's name.")
@flag("--node", metavar="REGEX", default="", help="Only agents whose node name matches take notice.")
@flag("--service", metavar="REGEX", default="", help="Only agents with such a service take notice.")
@flag("--tag", metavar="REGEX", default="", help="With -service: only where the service has such a tag.")
@api_flags
def command(api: ApiClient, payload: str, name: str, node: str, service: str, tag: str) -> None:
    """Fire a user event, with PAYLOAD: it reaches every agent of the datacenter, or those the filters name."""
    query = {"node": node or None, "service": service or None, "tag": tag or None}
    fired = api.request("PUT", path_of("event", "fire", name), query=query, body=payload.encode()).json()
    click.echo(f"Event ID: {fired['ID']}")
