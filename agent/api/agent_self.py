"""`GET /v1/agent/self`, `members` and `host`: who this agent is and how it is. They answer without any server."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from chowk import __version__
from chowk.agent.api.context import ApiContext
from chowk.agent.api.members import ShownMember
from chowk.agent.api.reads import filtered
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route
from chowk.core import codec
from chowk.core.errors import ChowkError
from chowk.core.records.base import json_name
from chowk.core.requests import STATUS_STATS, Empty

SERVER_STATS_TIMEOUT_S: Final = 1.0
_BUILT: Final = "1970-01-01T00:00:00Z"
"""Builds are the same whenever they are made."""
_STARTED: Final = time.monotonic()
CONSUL_VERSION: Final = "1.12.0"
"""The Consul whose API this is. Clients ask an agent for it before they use what that has: Nomad wants 1.8 at least."""
_SHOWN: Final = (
    "node_name", "node_id", "node_meta", "datacenter", "data_dir", "dev", "server", "bootstrap_expect", "bind_addr",
    "advertise_addr", "tagged_addresses", "addresses", "ports", "dns", "limits", "http", "checks_config",
    "default_intention_policy", "log_level", "log_json", "log_file", "leave_on_terminate", "skip_leave_on_interrupt",
    "disable_update_check", "enable_debug", "files",
)  # fmt: skip
"""What DebugConfig shows of the configuration: a list of what may be seen, so that a new secret stays hidden."""


async def agent_self(request: ApiRequest) -> web.Response:
    """Config, DebugConfig, Member, Stats and Meta, as Consul's clients decode them."""
    context = request.context
    config = context.config()
    members = [member for member in context.members() if member.get("Name") == config.node_name]
    answer = {
        "Config": {
            "Datacenter": config.datacenter,
            "PrimaryDatacenter": config.datacenter,
            "NodeName": config.node_name,
            "NodeID": config.node_id,
            "Revision": "",
            "Server": config.server,
            "Version": CONSUL_VERSION,
            "ChowkVersion": __version__,
            "BuildDate": _BUILT,
        },
        "DebugConfig": _debug_config(context),
        "Coord": context.gossip.coordinate() if context.gossip is not None else None,
        "Member": members[0] if members else None,
        "Stats": await _stats(context),
        "Meta": config.node_meta,
    }
    return json_reply(request, answer)


async def version(request: ApiRequest) -> web.Response:
    """The release, under Consul's names; a release of chowk says no commit."""
    return json_reply(request, {"SHA": "", "BuildDate": _BUILT, "HumanVersion": __version__, "FIPS": ""})


def _debug_config(context: ApiContext) -> dict[str, Any]:
    config = context.config()
    shown: dict[str, Any] = codec.to_builtins({name: getattr(config, name) for name in _SHOWN})
    named = {json_name(name): value for name, value in shown.items()}
    proxies = context.proxies
    return named | {
        "ConnectEnabled": config.connect.enabled,
        "ConnectLaunch": config.connect.launch,
        "EncryptKey": "hidden" if config.encrypt else "",
        "ProxySocket": str(proxies.control_socket) if proxies is not None and config.connect.enabled else "",
    }


async def _stats(context: ApiContext) -> dict[str, dict[str, str]]:
    local, client, config = context.local, context.client, context.config()
    ttls = sum(1 for entry in local.checks.values() if entry.definition is not None and entry.definition.ttl_s)
    proxies = context.proxies.status() if context.proxies is not None else ()
    stats = {
        "agent": {
            "check_monitors": str(len(local.checks) - ttls),
            "check_ttls": str(ttls),
            "checks": str(len(local.checks)),
            "services": str(len(local.services)),
            "proxies": str(len(proxies)),
            "server_connected": str(client.connected).lower(),
            "views": str(len(context.views)),
        },
        "build": {"version": __version__, "revision": "", "prerelease": ""},
        "runtime": {
            "arch": platform.machine(),
            "os": platform.system().lower(),
            "python_version": platform.python_version(),
            "cpu_count": str(os.cpu_count() or 1),
            "pid": str(os.getpid()),
            "uptime_s": str(int(time.monotonic() - _STARTED)),
        },
        "consul": {"server": str(config.server).lower(), "known_datacenters": "1"},
    }
    if context.gossip is not None:
        stats["serf_lan"] = context.gossip.stats()
    for proxy in proxies:
        report = proxy.report
        stats[f"proxy {proxy.proxy_id}"] = {
            "state": proxy.state,
            "pid": str(proxy.pid),
            "starts": str(proxy.starts),
            "inbound_connections_open": str(report.inbound_connections_open) if report else "",
            "inbound_denied_total": str(report.inbound_denied_total) if report else "",
        }
    for section, values in (await server_stats(context)).items():
        stats[section] = {**stats.get(section, {}), **values}
    return stats


async def server_stats(context: ApiContext) -> dict[str, dict[str, str]]:
    """What the server says of itself, section -> name -> text; without its sections when it cannot be asked."""
    if not context.client.connected:
        return {}
    try:
        reply = await context.client.call(STATUS_STATS, Empty(), timeout_s=SERVER_STATS_TIMEOUT_S)
    except ChowkError as error:
        return {"consul": {"server_stats": f"not available: {error}"}}
    return reply.stats


async def members(request: ApiRequest) -> web.Response:
    """The members as the agent sees them; `?wan` those of all datacenters, which are servers; `?filter`."""
    keep: Callable[[Any], bool] = filtered(request, ShownMember)
    found = [member for member in request.context.members() if keep(member)]
    if request.query.truth("wan", empty=False):
        found = [member for member in found if member.get("Tags", {}).get("role") == "consul"]
    return json_reply(request, found)


async def host(request: ApiRequest) -> web.Response:
    """What the host is and has."""
    total, available = _memory_bytes()
    system = platform.uname()
    release = _os_release()
    disk = os.statvfs(request.context.config().data_dir or "/")
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    answer = {
        "Memory": {
            "total": total,
            "available": available,
            "used": total - available,
            "usedPercent": round(100 * (total - available) / total, 2) if total else 0,
        },
        "CPU": [{"cpu": number, "modelName": system.processor} for number in range(os.cpu_count() or 1)],
        "Host": {
            "hostname": system.node,
            "os": system.system.lower(),
            "platform": release.get("ID", ""),
            "platformVersion": release.get("VERSION_ID", ""),
            "kernelVersion": system.release,
            "kernelArch": system.machine,
            "python": sys.version.split()[0],
        },
        "Disk": {"total": size, "free": free, "used": size - free},
        "CollectionTime": int(request.context.clock.wall() * 1e9),
        "Errors": None,
    }
    return json_reply(request, answer)


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _memory_bytes() -> tuple[int, int]:
    """Total and available, of /proc/meminfo; 0 where there is none."""
    try:
        rows = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
    except OSError:
        return 0, 0
    found = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1}
    return found.get("MemTotal", 0), found.get("MemAvailable", 0)


def format_wall(unix_s: float) -> str:
    """The way Consul's metrics show a time: `2026-11-22 21:00:00 +0000 UTC`."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


ROUTES: Final = (
    Route(("GET",), "/v1/agent/self", agent_self, "agent:read"),
    Route(("GET",), "/v1/agent/members", members, "node:read"),
    Route(("GET",), "/v1/agent/host", host, "operator:read"),
    Route(("GET",), "/v1/agent/version", version, ANYONE),
)
