"""`chowk members`."""

from __future__ import annotations

import re
from typing import Any

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, flag, moot
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.output import JSON, format_flag, show_json, show_table

STATUSES = ("none", "alive", "leaving", "left", "failed")
NO_MEMBERS_CODE = 2


@make_command(
    "members", examples="chowk members\nchowk members -detailed\nchowk members -status='failed|left' -format=json"
)
@flag("--detailed", is_flag=True, help="Show every tag, and who is kept alive on purpose though unreachable.")
@flag("--status", default=".*", metavar="REGEX", help="Only members whose whole status matches.")
@flag("--wan", is_flag=True, help="The servers of all datacenters instead.")
@flag("--filter", default="", metavar="EXPRESSION", help="Only members for which this holds.")
@moot("--segment", "there are no segments")
@format_flag
@api_flags
def command(api: ApiClient, detailed: bool, status: str, wan: bool, filter: str, output_format: str) -> int:
    """List the members of the cluster, as the agent sees them. Exit code 2 when none matches."""
    try:
        wanted = re.compile(status)
    except re.error as error:
        raise Failure(f'-status: "{status}" is not a regular expression: {error}') from error
    found = api.get(path_of("agent", "members"), {"wan": "1" if wan else None, "filter": filter})
    members = [member for member in found if wanted.fullmatch(_status(member))]
    members.sort(key=lambda member: (member.get("Tags", {}).get("segment", ""), member["Name"]))
    if output_format == JSON:
        show_json(members)
    elif members:
        show_table(_detailed(members) if detailed else _plain(members))
    return 0 if members else NO_MEMBERS_CODE


def _plain(members: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "Address", "Status", "Type", "Build", "Protocol", "DC"]]
    for member in members:
        tags = member.get("Tags") or {}
        kind = {"node": "client", "consul": "server"}.get(tags.get("role", ""), tags.get("role") or "unknown")
        build = tags.get("build", "").partition(":")[0] or "< 0.3"
        protocol = tags.get("vsn") or str(member.get("ProtocolCur", ""))
        rows.append([member["Name"], _address(member), _status(member), kind, build, protocol, tags.get("dc", "")])
    return rows


def _detailed(members: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "Address", "Status", "Tags"]]
    for member in members:
        shown = {**(member.get("Tags") or {}), **({"kept": "true"} if member.get("Kept") else {})}
        tags = ",".join(f"{key}={value}" for key, value in sorted(shown.items()))
        rows.append([member["Name"], _address(member), _status(member), tags])
    return rows


def _address(member: dict[str, Any]) -> str:
    host = f"[{member['Addr']}]" if ":" in member["Addr"] else member["Addr"]
    return f"{host}:{member['Port']}"


def _status(member: dict[str, Any]) -> str:
    number = member.get("Status", 0)
    return STATUSES[number] if 0 <= number < len(STATUSES) else "unknown"
