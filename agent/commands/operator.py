"""`chowk operator raft list-peers`."""

from __future__ import annotations

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Group
from chowk.agent.commands.output import JSON, format_flag, show_json, show_table

command = Group("operator", help="Tools for those who run the servers.")
raft = Group("raft", help="The servers' replicated log.")
command.add_command(raft)


@raft.command("list-peers", examples="chowk operator raft list-peers")
@format_flag
@api_flags
def list_peers(api: ApiClient, output_format: str) -> None:
    """List the servers that take part in the replicated log."""
    configuration = api.get(path_of("operator", "raft", "configuration"))
    if output_format == JSON:
        show_json(configuration)
        return
    rows = [["Node", "ID", "Address", "State", "Voter", "RaftProtocol"]]
    for peer in configuration.get("Servers") or ():
        state = "leader" if peer["Leader"] else "follower"
        voter = str(peer["Voter"]).lower()
        rows.append([peer["Node"], peer["ID"], peer["Address"], state, voter, peer.get("ProtocolVersion", "")])
    show_table(rows)
