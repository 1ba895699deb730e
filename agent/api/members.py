"""Members of the cluster in Consul's shape, and what an agent says of itself in its tags. Called by `agent.boot`."""

from __future__ import annotations

from typing import Any

import msgspec

from chowk import __version__
from chowk.agent.config.model import AgentConfig
from chowk.core.records.member import CLIENT_ROLE, SERVER_ROLE, STATUSES, Member

_VERSIONS = {
    "ProtocolMin": 1,
    "ProtocolMax": 5,
    "ProtocolCur": 2,
    "DelegateMin": 2,
    "DelegateMax": 5,
    "DelegateCur": 4,
}


class ShownMember(msgspec.Struct, frozen=True, rename="pascal"):
    """The fields that a `?filter` of members may name."""

    name: str
    addr: str
    port: int
    tags: dict[str, str]
    status: int
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int
    kept: bool = False


def shown_member(member: Member) -> dict[str, Any]:
    """One entry of `agent/members`. `Kept` is there only where it is true: held alive on purpose, though out of reach."""
    return {
        "Name": member.name,
        "Addr": member.address,
        "Port": member.port,
        "Tags": member.tags,
        "Status": STATUSES.index(member.status),
        **_VERSIONS,
        **({"Kept": True} if member.kept else {}),
    }


def own_tags(config: AgentConfig, server_port: int) -> dict[str, str]:
    """What this agent tells the others of itself; `server_port` is where its server's RPC listens, -1 without one."""
    tags = {
        "dc": config.datacenter,
        "id": config.node_id,
        "build": __version__,
        "vsn": "2",
        "vsn_min": "2",
        "vsn_max": "3",
    }
    if not config.server:
        return {"role": CLIENT_ROLE, **tags}
    server = {"role": SERVER_ROLE, **tags, "raft_vsn": "3"}
    if server_port > 0:
        server["port"] = str(server_port)
    if config.bootstrap_expect:
        server["expect"] = str(config.bootstrap_expect)
    if config.bootstrap_expect == 1:
        server["bootstrap"] = "1"
    return server
