"""The RPCs by which an agent tells its own server about the cluster. Only over the Unix socket that the two share."""

from __future__ import annotations

from chowk.core.records.member import Member
from chowk.core.requests import Empty, Message, Method

LOCAL = "agent:local"
"""The permission that only the agent of the same host has."""


class MembersReport(Message, frozen=True, kw_only=True):
    """All members, as this agent's gossip knows them now. Sent at every connection, at every change, and now and then;
    `reaped` names those that were forgotten since, so that the leader may deregister them."""

    members: tuple[Member, ...]
    reaped: tuple[str, ...] = ()


class KeysReport(Message, frozen=True, kw_only=True):
    """The gossip keys (base64), the primary one first; none: the cluster is not encrypted."""

    keys: tuple[str, ...] = ()


class ClusterReply(Message, frozen=True, kw_only=True):
    """`id` names the cluster that this server is part of, "" while it is in none. The same on all its servers; a recovery
    from the loss of a majority gives it another."""

    id: str = ""


MEMBERS_REPORT = Method("Members.Report", MembersReport, Empty, LOCAL)
KEYS_REPORT = Method("Members.Keys", KeysReport, Empty, LOCAL)
CLUSTER = Method("Members.Cluster", Empty, ClusterReply, LOCAL)
