"""`chowk operator raft list-peers|remove-peer|transfer-leader` and `operator autopilot get-config|set-config|state`."""

from __future__ import annotations

from typing import Any, Final

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, Group, flag, moot
from chowk.agent.commands.output import JSON, format_flag, show_json, show_line, show_table

AUTOPILOT: Final = path_of("operator", "autopilot", "configuration")
BOOLEAN: Final = click.BOOL

command = Group(
    "operator",
    help="Tools for those who run the servers.",
    absent=dict.fromkeys(("area", "usage", "utilization"), "it is of several datacenters, or of a licence"),
)
raft = Group("raft", help="The servers' replicated log.")
autopilot = Group("autopilot", help="What the leader does about the servers by itself.")
command.add_command(raft)
command.add_command(autopilot)


@raft.command("list-peers", examples="chowk operator raft list-peers")
@format_flag
@api_flags
def list_peers(api: ApiClient, output_format: str) -> None:
    """List the servers that take part in the replicated log."""
    configuration = api.get(path_of("operator", "raft", "configuration"))
    if output_format == JSON:
        show_json(configuration)
        return
    last = _last_indexes(api)
    head = max((last.get(peer["ID"], 0) for peer in configuration.get("Servers") or () if peer["Leader"]), default=0)
    rows = [["Node", "ID", "Address", "State", "Voter", "RaftProtocol", "Commit Index", "Trails Leader By"]]
    for peer in configuration.get("Servers") or ():
        state = "leader" if peer["Leader"] else "follower"
        voter = str(peer["Voter"]).lower()
        index = last.get(peer["ID"], 0)
        behind = f"{max(0, head - index)} commits" if index and not peer["Leader"] else "-"
        places = [peer["Node"], peer["ID"], peer["Address"], state, voter, peer.get("ProtocolVersion", "")]
        rows.append([*places, str(index or "-"), behind])
    show_table(rows)


def _last_indexes(api: ApiClient) -> dict[str, int]:
    """How far each server is, by id, as the leader knows it; nothing while nobody leads."""
    try:
        found = api.get(path_of("operator", "autopilot", "state"))
    except Failure:
        return {}
    return {server_id: server.get("LastIndex", 0) for server_id, server in (found.get("Servers") or {}).items()}


@raft.command(
    "remove-peer",
    examples="""
    chowk operator raft remove-peer -address=10.0.0.3:8300
    chowk operator raft remove-peer -id=6a1c2b0e-8c38-4f7c-9b8e-0d9d6e2f1a11""",
)
@flag("--address", default="", metavar="IP:PORT", help="The server's address, as `list-peers` shows it.")
@flag("--id", "server_id", default="", metavar="ID", help="The server's id, as `list-peers` shows it.")
@api_flags
def remove_peer(api: ApiClient, address: str, server_id: str) -> None:
    """Remove a server that is gone for good from the replicated log. One that leaves in order needs no such thing."""
    if bool(address) == bool(server_id):
        raise click.UsageError("an address or an id is required for the peer to remove, and only one of them")
    api.request("DELETE", path_of("operator", "raft", "peer"), {"address": address, "id": server_id})
    show_line(f'Removed peer with {"address" if address else "id"} "{address or server_id}"')


@raft.command(
    "transfer-leader",
    examples="""
    chowk operator raft transfer-leader
    chowk operator raft transfer-leader -id=6a1c2b0e-8c38-4f7c-9b8e-0d9d6e2f1a11""",
)
@flag("--id", "server_id", default="", metavar="ID", help="The server that is to lead; else the one that is furthest.")
@api_flags
def transfer_leader(api: ApiClient, server_id: str) -> None:
    """Let another server lead."""
    reply = api.request("POST", path_of("operator", "raft", "transfer-leader"), {"id": server_id}).json()
    if not reply.get("Success"):
        raise Failure("the leadership was not transferred")
    show_line("Success")


@autopilot.command("get-config", examples="chowk operator autopilot get-config")
@api_flags
def get_config(api: ApiClient) -> None:
    """Show the settings in force."""
    settings = api.get(AUTOPILOT)
    for name in (
        "CleanupDeadServers",
        "LastContactThreshold",
        "MaxTrailingLogs",
        "MinQuorum",
        "ServerStabilizationTime",
    ):
        show_line(f"{name} = {_text(settings.get(name))}")
    for name in ("RedundancyZoneTag", "DisableUpgradeMigration", "UpgradeVersionTag"):
        value = settings.get(name)
        show_line(f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {_text(value)}")


@autopilot.command(
    "set-config",
    examples="""
    chowk operator autopilot set-config -cleanup-dead-servers=false
    chowk operator autopilot set-config -min-quorum=3 -server-stabilization-time=30s""",
)
@flag("--cleanup-dead-servers", type=BOOLEAN, default=None, help="Whether dead servers are removed.")
@flag("--last-contact-threshold", default=None, metavar="TIME", help="Unheard for longer, a server is not healthy.")
@flag("--max-trailing-logs", type=click.IntRange(0), default=None, help="Further behind, a server is not healthy.")
@flag("--min-quorum", type=click.IntRange(0), default=None, help="Never remove dead servers below this many.")
@flag("--server-stabilization-time", default=None, metavar="TIME", help="How long a new server must be healthy first.")
@moot("--redundancy-zone-tag", "every server votes in the end")
@moot("--upgrade-version-tag", "there are no migrations between releases")
@moot("--disable-upgrade-migration", "there are no migrations between releases", type=BOOLEAN)
@flag("--cas", default=None, type=click.IntRange(0), metavar="INDEX", help="Only if this is the ModifyIndex now.")
@api_flags
def set_config(
    api: ApiClient,
    cleanup_dead_servers: bool | None,
    last_contact_threshold: str | None,
    max_trailing_logs: int | None,
    min_quorum: int | None,
    server_stabilization_time: str | None,
    cas: int | None,
) -> None:
    """Change settings; what is not named stays as it is."""
    given = {
        "CleanupDeadServers": cleanup_dead_servers,
        "LastContactThreshold": last_contact_threshold,
        "MaxTrailingLogs": max_trailing_logs,
        "MinQuorum": min_quorum,
        "ServerStabilizationTime": server_stabilization_time,
    }
    body = {name: value for name, value in given.items() if value is not None}
    if api.put(AUTOPILOT, {"cas": str(cas) if cas is not None else None}, body).json() is not True:
        raise Failure("Configuration could not be atomically updated, please try again")
    show_line("Configuration updated!")


@autopilot.command("state", examples="chowk operator autopilot state")
@format_flag
@api_flags
def state(api: ApiClient, output_format: str) -> None:
    """Show how the leader sees the servers."""
    found = api.get(path_of("operator", "autopilot", "state"))
    if output_format == JSON:
        show_json(found)
        return
    show_table(
        [
            ["Healthy:", _text(found["Healthy"])],
            ["Failure Tolerance:", found["FailureTolerance"]],
            ["Leader:", found["Leader"]],
        ]
    )
    show_line("Voters:")
    for voter in found.get("Voters") or ():
        show_line(f"   {voter}")
    show_line("Servers:")
    for server_id, server in sorted((found.get("Servers") or {}).items()):
        show_line(f"   {server_id}")
        show_table(_rows(server))


def _rows(server: dict[str, Any]) -> list[list[str]]:
    fields = {
        "Name": "Name",
        "Address": "Address",
        "Version": "Version",
        "Status": "Status",
        "Node Type": "NodeType",
        "Node Status": "NodeStatus",
        "Healthy": "Healthy",
        "Last Contact": "LastContact",
        "Last Term": "LastTerm",
        "Last Index": "LastIndex",
        "Stable Since": "StableSince",
    }
    return [[f"      {name}:", _text(server.get(key))] for name, key in fields.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
