"""Two clusters that would be joined by mistake, told by the `cluster` tag of their servers. Pure. Called by `exchanges`.

Raft and the store tell clusters apart by themselves; this keeps their gossip apart too, where both have the same key and
datacenter. Agents without servers belong to whoever takes them in. Sides that have a server in common, in whatever state,
are one cluster that a partition split or a recovery renamed, and may always meet again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from chowk.core.records import member

NAMES_SHOWN: Final = 3
NAME_SHOWN: Final = 24
"""Characters of a name: both sides' names and the advice fit into a refusal on the wire."""


class Server(NamedTuple):
    """A server that one side knows: `tags` as it says them, and whether that side holds it alive."""

    name: str
    tags: dict[str, str]
    is_live: bool


def joined_by_mistake(ours: Iterable[Server], theirs: Iterable[Server]) -> str:
    """Why these two sides are two clusters, with what to do, for either side to read; "" where they may be one."""
    known = {_key(server): server for server in ours}
    met = {_key(server): server for server in theirs}
    here, there = _clusters(known.values()), _clusters(met.values())
    if not here or not there or here.keys() & there.keys() or known.keys() & met.keys():
        return ""
    return (
        f"these are two clusters, and joining would make them one: {_named(here)} and {_named(there)}. Join agents of the "
        "same cluster, and give each cluster its own key; a server that changes over needs an empty data_dir"
    )


def _key(server: Server) -> str:
    return server.tags.get("id") or server.name


def _clusters(servers: Iterable[Server]) -> dict[str, list[str]]:
    """The names of the live servers of each cluster; those that are in none yet do not count."""
    found: dict[str, list[str]] = {}
    for server in sorted(servers, key=lambda each: each.name):
        cluster = server.tags.get(member.CLUSTER_TAG, "")
        if cluster and server.is_live:
            found.setdefault(cluster, []).append(server.name)
    return found


def _named(clusters: dict[str, list[str]]) -> str:
    """One is enough to say which: there are several only while a recovery goes on."""
    cluster, names = min(clusters.items())
    shown = [name[:NAME_SHOWN] for name in names[:NAMES_SHOWN]]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{cluster[:32]} ({', '.join(shown)}{more})"
