"""`chowk services register|deregister`."""

from __future__ import annotations

from typing import Any

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Failure, Group, flag
from chowk.agent.commands.documents import get_any, parse_pairs, read_services
from chowk.agent.commands.output import show_line

command = Group("services", help="Register and deregister services of this agent.")


@command.command(
    "register",
    examples="""
    chowk services register web.hcl
    chowk services register -name=web -port=8080 -tag=v1
    echo '{"service": {"name": "web"}}' | chowk services register -""",
)
@click.argument("files", nargs=-1, metavar="[FILE...]")
@flag("--name", default="", metavar="NAME", help="The service's name.")
@flag("--id", default="", metavar="ID", help="The instance's id; the name otherwise.")
@flag("--address", default="", metavar="ADDRESS", help="Where it is; the node's address otherwise.")
@flag("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Its port.")
@flag("--tag", multiple=True, metavar="TAG", help="A tag. May be repeated.")
@flag("--meta", multiple=True, metavar="KEY=VALUE", help="A pair of meta. May be repeated.")
@flag("--kind", default="", metavar="KIND", help="Of a proxy: connect-proxy. Its settings need a file.")
@flag("--socket-path", default="", metavar="PATH", help="Its Unix socket, instead of address and port.")
@api_flags
def register(
    api: ApiClient,
    files: tuple[str, ...],
    name: str,
    id: str,
    address: str,
    port: int,
    tag: tuple[str, ...],
    meta: tuple[str, ...],
    kind: str,
    socket_path: str,
) -> None:
    """Register services with the agent: those of the HCL or JSON files (`-` is standard input), or one from the flags."""
    flags: dict[str, Any] = {
        "ID": id, "Name": name, "Address": address, "Port": port, "SocketPath": socket_path, "Kind": kind,
        "Tags": list(tag), "Meta": parse_pairs(meta, "meta"),
    }  # fmt: skip
    given = {key: value for key, value in flags.items() if value}
    _refuse_both(files, given)
    if not files and not name:
        raise click.UsageError("name a file, or a service with -name")
    for service in [service for file in files for service in read_services(file)] or [given]:
        api.put(path_of("agent", "service", "register"), body=service)
        show_line(f"Registered service: {get_any(service, 'name')}")


@command.command("deregister", examples="chowk services deregister -id=web-1\nchowk services deregister web.hcl")
@click.argument("files", nargs=-1, metavar="[FILE...]")
@flag("--id", default="", metavar="ID", help="The id of the instance.")
@api_flags
def deregister(api: ApiClient, files: tuple[str, ...], id: str) -> None:
    """Deregister services from the agent: those of the HCL or JSON files, or the one with an id."""
    _refuse_both(files, {"ID": id} if id else {})
    if not files and not id:
        raise click.UsageError("name a file, or an instance with -id")
    services = [service for file in files for service in read_services(file)]
    ids = [str(get_any(service, "id") or get_any(service, "name") or "") for service in services] or [id]
    if not all(ids):
        raise Failure("a service in the files has neither id nor name")
    for service_id in ids:
        api.put(path_of("agent", "service", "deregister", service_id))
        show_line(f"Deregistered service: {service_id}")


def _refuse_both(files: tuple[str, ...], given: dict[str, Any]) -> None:
    if files and given:
        raise click.UsageError(f"either files or flags, not both (-{sorted(given)[0].lower()} was given)")
