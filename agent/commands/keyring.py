"""`chowk keyring`."""

from __future__ import annotations

from typing import Any

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, flag, moot
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.output import JSON, format_flag, show_json

_CHANGES = {
    "install": ("POST", "Installing new gossip encryption key..."),
    "use": ("PUT", "Changing primary gossip encryption key..."),
    "remove": ("DELETE", "Removing gossip encryption key..."),
}


@make_command(
    "keyring",
    examples="""chowk keyring -list
chowk keyring -install=$(chowk keygen)
chowk keyring -use=KEY
chowk keyring -remove=OLDKEY""",
)
@flag("--list", "list_all", is_flag=True, help="Show the keys and how many members have each.")
@flag("--list-primary", is_flag=True, help="Show the primary keys and how many members use each.")
@flag("--install", metavar="KEY", default="", help="Give every member a new key. It is not used yet.")
@flag("--use", metavar="KEY", default="", help="Make every member encrypt with an installed key.")
@flag("--remove", metavar="KEY", default="", help="Make every member forget a key that is not in use.")
@moot("--relay-factor", "every member is asked directly", type=int)
@flag("--local-only", is_flag=True, help="With -list: ask this agent alone.")
@format_flag
@api_flags
def command(
    api: ApiClient,
    list_all: bool,
    list_primary: bool,
    install: str,
    use: str,
    remove: str,
    local_only: bool,
    output_format: str,
) -> None:
    """Look after the keys that encrypt gossip. To change the key: -install the new, -use it, -remove the old."""
    keys = {name: key for name, key in (("install", install), ("use", use), ("remove", remove)) if key}
    if len(keys) + list_all + list_primary != 1:
        raise Failure("Only a single action is allowed: give one of -list, -list-primary, -install, -use, -remove")
    if not keys:
        _list(api, "PrimaryKeys" if list_primary else "Keys", local_only, output_format)
        return
    if local_only:
        raise Failure("-local-only goes with -list only")
    ((operation, key),) = keys.items()
    method, text = _CHANGES[operation]
    click.echo(f"==> {text}")
    api.request(method, path_of("operator", "keyring"), body={"Key": key})


def _list(api: ApiClient, field: str, local_only: bool, output_format: str) -> None:
    rings: list[dict[str, Any]] = api.get(path_of("operator", "keyring"), {"local-only": "1" if local_only else None})
    if output_format == JSON:
        show_json(rings)
        return
    click.echo("==> Gathering installed encryption keys...")
    for ring in rings:
        click.echo(f"\n{'WAN' if ring['WAN'] else ring['Datacenter'] + ' (LAN)'}:")
        for key, count in sorted(ring[field].items()):
            click.echo(f"  {key} [{count}/{ring['NumNodes']}]")
        for name, text in sorted((ring.get("Messages") or {}).items()):
            click.echo(f"  {name}: {text}", err=True)
