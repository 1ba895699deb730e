"""`chowk intention create|check|get|list|match|delete`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, ApiError, path_of
from chowk.agent.commands.command import Command, Failure, Group, flag
from chowk.agent.commands.documents import get_any, parse_pairs, read_plain
from chowk.agent.commands.intention_advice import add_to
from chowk.agent.commands.output import JSON, format_flag, printable, show_json, show_line, show_table
from chowk.agent.commands.registered import warn_unregistered

EXACT = path_of("connect", "intentions", "exact")
ALLOWED_CODE, DENIED_CODE, ERROR_CODE = 0, 1, 2

command = Group("intention", help="Say which service may call which. `*` is any service.")


class _Check(Command):
    error_code = ERROR_CODE


add_to(command, _Check)


@command.command(
    "create",
    examples="""
    chowk intention create -deny web db
    chowk intention create -allow -replace -meta team=shop web db
    chowk intention create -file web-to-db.json""",
)
@click.argument("names", nargs=-1, metavar="[SOURCE DESTINATION]")
@flag("--allow", is_flag=True, help="Allow the connections (the default).")
@flag("--deny", is_flag=True, help="Deny the connections.")
@flag("--file", "-f", is_flag=True, help="The arguments are HCL or JSON files, each with one intention.")
@flag("--meta", multiple=True, metavar="KEY=VALUE", help="A pair of meta. May be repeated.")
@flag("--description", default="", metavar="TEXT", help="Why it is there.")
@flag("--replace", is_flag=True, help="Replace the intention if there is one already.")
@api_flags
def create(
    api: ApiClient,
    names: tuple[str, ...],
    allow: bool,
    deny: bool,
    file: bool,
    meta: tuple[str, ...],
    description: str,
    replace: bool,
) -> None:
    """Allow or deny connections of SOURCE to DESTINATION."""
    if allow and deny:
        raise click.UsageError("only one of -allow and -deny")
    if file:
        intentions = [_normal(read_plain(name), name) for name in names]
    else:
        source, destination = _pair(names)
        intentions = [{"SourceName": source, "DestinationName": destination, "Action": "deny" if deny else "allow"}]
    if not intentions:
        raise click.UsageError("name at least one file")
    for intention in intentions:
        if meta:
            intention["Meta"] = {**(intention.get("Meta") or {}), **parse_pairs(meta, "meta")}
        if description:
            intention["Description"] = description
        _write(api, intention, replace=replace)


def _write(api: ApiClient, intention: dict[str, Any], *, replace: bool) -> None:
    existing = _find(api, intention["SourceName"], intention["DestinationName"])
    if existing is not None and not replace:
        raise Failure(f"there is one already: {_describe(existing)}\nReplace it with -replace.")
    api.put(EXACT, _query(intention["SourceName"], intention["DestinationName"]), intention)
    show_line(f"{'Updated' if existing else 'Created'}: {_describe(intention)}")
    if existing is not None and (lost := existing.get("Permissions")) and not intention.get("Permissions"):
        click.echo(f"It had {len(lost)} permissions, which are gone.", err=True)


@command.command("check", cls=_Check, examples="chowk intention check web db && echo yes")
@click.argument("source")
@click.argument("destination")
@format_flag
@api_flags
def check(api: ApiClient, source: str, destination: str, output_format: str) -> int:
    """Ask whether SOURCE may open connections to DESTINATION. Exit code 0: allowed, 1: denied, 2: an error."""
    answer = api.get(path_of("connect", "intentions", "check"), _query(source, destination))
    allowed = answer.get("Allowed") is True
    if output_format == JSON:
        show_json(answer)
    else:
        show_line("Allowed" if allowed else "Denied")
        if reason := answer.get("Reason"):
            click.echo(printable(str(reason)), err=True)  # scripts read standard output alone
    warn_unregistered(api, source, destination)
    return ALLOWED_CODE if allowed else DENIED_CODE


@command.command("get", examples="chowk intention get web db")
@click.argument("names", nargs=-1, metavar="SOURCE DESTINATION | ID")
@format_flag
@api_flags
def get(api: ApiClient, names: tuple[str, ...], output_format: str) -> None:
    """Show one intention."""
    intention = _by_id(api, names[0]) if len(names) == 1 else _find(api, *_pair(names))
    if intention is None:
        raise Failure(f"there is no intention {' => '.join(names)}")
    if output_format == JSON:
        show_json(intention)
        return
    rows = [
        ["Source:", intention["SourceName"]],
        ["Destination:", intention["DestinationName"]],
        ["Action:", intention.get("Action") or "by permissions"],
        ["Precedence:", intention.get("Precedence", 0)],
        ["ID:", intention.get("ID", "")],
        ["Description:", intention.get("Description", "")],
        *([f"Meta[{key}]:", value] for key, value in sorted((intention.get("Meta") or {}).items())),
        ["Created At:", intention.get("CreatedAt", "")],
    ]
    show_table(row for row in rows if row[1] != "")
    for number, permission in enumerate(intention.get("Permissions") or (), 1):
        show_line(f"Permission {number}: {permission.get('Action')} {permission.get('HTTP')}")


@command.command("list", examples="chowk intention list\nchowk intention list -format=json")
@flag("--filter", default="", metavar="EXPRESSION", help="Only intentions for which this holds.")
@format_flag
@api_flags
def list_intentions(api: ApiClient, filter: str, output_format: str) -> None:
    """List all intentions, those that decide first at the top."""
    intentions = api.get(path_of("connect", "intentions"), {"filter": filter})
    if output_format == JSON:
        show_json(intentions)
    elif not intentions:
        show_line("There are no intentions.")
    else:
        rows = [["ID", "Source", "Action", "Destination", "Precedence"]]
        for one in intentions:
            action = one.get("Action") or "L7"
            rows.append([one.get("ID", ""), one["SourceName"], action, one["DestinationName"], one["Precedence"]])
        show_table(rows)


@command.command("match", examples="chowk intention match db\nchowk intention match -source web")
@click.argument("name")
@flag("--source", is_flag=True, help="Intentions from NAME.")
@flag("--destination", is_flag=True, help="Intentions towards NAME (the default).")
@format_flag
@api_flags
def match(api: ApiClient, name: str, source: bool, destination: bool, output_format: str) -> None:
    """List the intentions that apply to a service, in the order in which they are tried."""
    if source and destination:
        raise click.UsageError("only one of -source and -destination")
    query = {"by": "source" if source else "destination", "name": name}
    found = api.get(path_of("connect", "intentions", "match"), query).get(name) or []
    if output_format == JSON:
        show_json(found)
        return
    for intention in found:
        show_line(_describe(intention))


@command.command("delete", examples="chowk intention delete web db")
@click.argument("names", nargs=-1, metavar="SOURCE DESTINATION | ID")
@api_flags
def delete(api: ApiClient, names: tuple[str, ...]) -> None:
    """Delete one intention."""
    if len(names) == 1:
        found = _by_id(api, names[0])
        source, destination = found["SourceName"], found["DestinationName"]
    else:
        source, destination = _pair(names)
        if _find(api, source, destination) is None:
            raise Failure(f"there is no intention {source} => {destination}")
    api.request("DELETE", EXACT, _query(source, destination))
    show_line("Intention deleted.")


def _pair(names: tuple[str, ...]) -> tuple[str, str]:
    if len(names) != 2:
        raise click.UsageError(f"takes two names, SOURCE and DESTINATION, not {len(names)}")
    return names[0], names[1]


def _query(source: str, destination: str) -> dict[str, str]:
    return {"source": source, "destination": destination}


def _find(api: ApiClient, source: str, destination: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.get(EXACT, _query(source, destination))
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return found


def _by_id(api: ApiClient, text: str) -> dict[str, Any]:
    try:
        wanted = str(uuid.UUID(text))
    except ValueError:
        raise click.UsageError(f'takes SOURCE and DESTINATION, or the ID of an intention, not "{text}"') from None
    found = [one for one in api.get(path_of("connect", "intentions")) if one.get("ID", "").lower() == wanted]
    if not found:
        raise Failure(f"there is no intention with the id {wanted}")
    intention: dict[str, Any] = found[0]
    return intention


def _describe(intention: Mapping[str, Any]) -> str:
    count = len(intention.get("Permissions") or ())
    detail = (f"{count} permission" + ("s" if count > 1 else "")) if count else intention.get("Action")
    return f"{intention['SourceName']} => {intention['DestinationName']} ({detail})"


def _normal(plain: dict[str, Any], file: str) -> dict[str, Any]:
    """An intention as a file writes it, under Consul's names."""
    source, destination = get_any(plain, "sourcename", "source"), get_any(plain, "destinationname", "destination")
    if not source or not destination:
        raise Failure(f"{file}: an intention needs SourceName and DestinationName")
    permissions = get_any(plain, "permissions")
    intention = {"SourceName": str(source), "DestinationName": str(destination)}
    optional = {
        "Description": get_any(plain, "description"),
        "Meta": get_any(plain, "meta"),
        "Permissions": permissions,
        "Action": get_any(plain, "action") or (None if permissions else "allow"),
    }
    return intention | {key: value for key, value in optional.items() if value}
