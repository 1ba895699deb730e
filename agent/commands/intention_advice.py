"""`chowk intention why|suggest`: what decides a call, and which intentions the traffic that is there would need."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Group, flag
from chowk.agent.commands.output import JSON, format_flag, printable, show_json, show_line, show_table
from chowk.agent.commands.registered import warn_unregistered

ALLOWED_CODE, DENIED_CODE = 0, 1
OTHER = "(other)"
BY_PERMISSIONS = "by permissions"
"""Callers that a sidecar could not count one by one."""


def add_to(group: Group, checks: type[click.Command]) -> None:
    """Add the commands; `checks` is the kind of those whose exit code is a verdict."""
    _add_why(group, checks)
    _add_suggest(group)


def _add_why(group: Group, checks: type[click.Command]) -> None:
    @group.command(
        "why",
        cls=checks,
        examples="""
        chowk intention why web db
        chowk intention why web db -method=POST -path=/admin
        chowk intention why web db -path=/admin -header=x-role:ops""",
    )
    @click.argument("source")
    @click.argument("destination")
    @flag("--method", default="", help="The method of a request; needed where permissions decide.")
    @flag("--path", default="", help="Its path.")
    @flag("--header", multiple=True, metavar="NAME:VALUE", help="One of its headers. May be repeated.")
    @format_flag
    @api_flags
    def why(
        api: ApiClient,
        source: str,
        destination: str,
        method: str,
        path: str,
        header: tuple[str, ...],
        output_format: str,
    ) -> int:
        """Say which rule decides whether SOURCE may call DESTINATION, and what would change that.

        Exit code 0: it is let through, 1: it is denied, 2: an error.
        """
        query = {"source": source, "destination": destination, "method": method or None, "path": path or None}
        found = api.get(path_of("connect", "intentions", "why"), {**query, "header": list(header) or None})
        if output_format == JSON:
            show_json(found)
        else:
            _show(found)
        warn_unregistered(api, source, destination)
        return ALLOWED_CODE if found["LetThrough"] else DENIED_CODE


def _show(found: dict[str, Any]) -> None:
    verdict = "Allowed" if found["Allowed"] else "Denied"
    show_line("Depends on the request" if found["ByRequest"] else verdict)
    if found["LetThrough"] and not found["Allowed"]:
        show_line(f"but let through: {found['Destination']} only watches what intentions deny (permissive)")
    click.echo(printable(found["Reason"]))
    deciding = found["DecidedBy"]
    rows: list[tuple[str, ...]] = [("", "SOURCE", "DESTINATION", "ACTION", "PRECEDENCE", "DESCRIPTION")]
    rows += [_row("decides", deciding)] if deciding else []
    rows += [_row("would be next" if at == 0 else "behind it", each) for at, each in enumerate(found["Behind"])]
    rows.append(("" if deciding else "decides", "*", "*", found["Default"], "default", "the default policy"))
    click.echo()
    show_table(rows)
    click.echo()
    for change in found["Changes"]:
        show_line(f"- {change}")


def _row(place: str, intention: dict[str, Any]) -> tuple[str, ...]:
    return (
        place,
        intention["SourceName"],
        intention["DestinationName"],
        intention["Action"] or "by permissions",
        str(intention["Precedence"]),
        intention["Description"],
    )


def _add_suggest(group: Group) -> None:
    @group.command(
        "suggest",
        examples="""
        chowk intention suggest
        chowk intention suggest db
        chowk intention suggest db -deny-others | sh""",
    )
    @click.argument("destination", default="")
    @flag("--deny-others", is_flag=True, help="Also deny whoever was not seen.")
    @format_flag
    @api_flags
    def suggest(api: ApiClient, destination: str, deny_others: bool, output_format: str) -> None:
        """Say which intentions the calls seen so far would need, as commands that add them.

        Seen are the calls that came to this host's sidecars since they started. Ask on each host of a service, over a time
        that holds its rare callers too, before you deny others. Who was only ever denied is named, never allowed.
        """
        found = api.get(path_of("agent", "traffic"), {"window": "60s"})
        known = {
            (each["SourceName"], each["DestinationName"]): each.get("Action") or BY_PERMISSIONS
            for each in api.get(path_of("connect", "intentions"))
        }
        lines = suggestions(found["Connections"], known, destination, deny_others=deny_others)
        if output_format == JSON:
            show_json([{"Command": line} for line in lines if not line.startswith("#")])
            return
        for line in lines or ["# No calls that need another intention have come to the sidecars of this host."]:
            show_line(line)


def suggestions(
    connections: Iterable[dict[str, Any]],
    known: Mapping[tuple[str, str], str],
    destination: str = "",
    *,
    deny_others: bool = False,
) -> list[str]:
    """Lines for a shell: an `intention create` for each pair that was seen and is not `known`; the rest are comments.

    `known` are the intentions there are, with their action. Nobody is allowed whom one of them denies on purpose.
    """
    callers: dict[str, dict[str, list[int]]] = {}
    for each in connections:
        if each["Direction"] == "inbound" and destination in ("", each["Service"]):
            counts = callers.setdefault(each["Service"], {}).setdefault(each["Peer"], [0, 0, 0])
            for at, name in enumerate(("Opened", "Denied", "Permitted")):
                counts[at] += each[name]
    lines = []
    for service, seen in sorted(callers.items()):
        for peer, (opened, denied, permitted) in sorted(seen.items()):
            if peer == OTHER:
                lines.append(f"# {service}: some callers were too many to count one by one; they are not here")
            elif not opened:
                lines.append(f"# {peer} => {service}: denied {denied} times, never let through")
            elif (peer, service) not in known:
                would = ", then against the intentions" if permitted else ""
                lines.append(_create("allow", peer, service, f"seen {opened} times{would}"))
            elif permitted and known[peer, service] != "allow":
                what = "denies it" if known[peer, service] == "deny" else "may deny it by its permissions"
                lines.append(
                    f"# {peer} => {service}: an intention {what}, and {permitted} calls were let through although denied; "
                    f"enforced, they fail (chowk intention why {peer} {service})"
                )
        if deny_others and OTHER in seen:
            lines.append(f"# {service}: others are not denied, since not all callers are known")
        elif deny_others and ("*", service) not in known:
            lines.append(_create("deny", "*", service, "nobody else was seen"))
    return lines


def _create(action: str, source: str, destination: str, why: str) -> str:
    words = ["chowk", "intention", "create", f"-{action}", "-description", why, source, destination]
    return shlex.join(words)
