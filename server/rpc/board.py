"""What this server's own agent last said of the cluster: its members, and the gossip keys. Made by `server.server`.

Written by `rpc.members`; the leader's duties, the transport to other servers and a server that waits to join read it.
"""

from __future__ import annotations

from collections.abc import Callable

from chowk.core.cluster_requests import MembersReport
from chowk.core.records.member import ALIVE, Member


class ClusterBoard:
    """The latest report, without the live servers of another cluster: two clusters whose gossip was joined by mistake stay
    two in everything that the servers do. Followers of `on_members` are called at every report, also one that repeats what
    was known."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.members: dict[str, Member] = {}
        self.has_report = False
        self._on_members: list[Callable[[MembersReport], None]] = []
        self._on_keys: list[Callable[[tuple[str, ...]], None]] = []

    def on_members(self, callback: Callable[[MembersReport], None]) -> None:
        """Call back at every report."""
        self._on_members.append(callback)

    def on_keys(self, callback: Callable[[tuple[str, ...]], None]) -> None:
        """Call back when the keys changed."""
        self._on_keys.append(callback)

    def report(self, report: MembersReport, cluster: str) -> None:
        """The agent speaks of its members; `cluster` names this server's, "" while it is in none."""
        self.members = {member.name: member for member in report.members if not _is_foreign(member, cluster)}
        self.has_report = True
        for callback in self._on_members:
            callback(report)

    def set_keys(self, keys: tuple[str, ...]) -> None:
        """The agent speaks of its keys."""
        if keys != self.keys:
            self.keys = keys
            for callback in self._on_keys:
                callback(keys)


def _is_foreign(member: Member, cluster: str) -> bool:
    """One that failed or left stays: it may have been ours before a recovery, and the catalog must hear of it."""
    return member.status == ALIVE and "" not in (cluster, member.cluster) and member.cluster != cluster
