"""`chowk connect proxy`; the commands of `chowk connect ca` are in `connect_ca`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import click

from chowk.agent.commands import connect_bypass
from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, Unreachable, path_of
from chowk.agent.commands.command import Failure, Group, flag
from chowk.agent.commands.connect_ca import ca

PROXY_KIND = "connect-proxy"

command = Group(
    "connect",
    help="The mesh: run a sidecar proxy, look after the certificate authority.",
    absent={
        "envoy": "the built-in proxy takes its place, and the agent launches it",
        "expose": "there are no gateways yet",
        "redirect-traffic": "there are no transparent proxies yet; services call the local ports of their upstreams",
    },
)
command.add_command(ca)
connect_bypass.add_to(command)


@command.command(
    "proxy",
    examples="""
    chowk connect proxy -sidecar-for web
    chowk connect proxy -proxy-id web-sidecar-proxy
    chowk connect proxy -service laptop -upstream db:9191
    chowk connect proxy -service web -service-addr 127.0.0.1:8080 -listen 127.0.0.1:8443""",
)
@flag("--sidecar-for", default="", metavar="ID", help="Be the registered sidecar of this service instance.")
@flag(
    "--proxy-id",
    default="",
    envvar=["CHOWK_PROXY_ID", "CONNECT_PROXY_ID"],
    metavar="ID",
    help="Be the proxy registered under this id.",
)
@flag("--service", default="", metavar="NAME", help="Stand for this service; no registration is needed before.")
@flag(
    "--upstream",
    multiple=True,
    metavar="NAME:[ADDRESS:]PORT",
    help="With -service: listen here, and connect to that service. May be repeated.",
)
@flag("--listen", default="", metavar="[ADDRESS:]PORT", help="With -service: take mTLS connections for it here.")
@flag("--service-addr", default="", metavar="[ADDRESS:]PORT", help="With -listen: where the service itself is.")
@flag("--log-level", default="info", metavar="LEVEL", help="The least level to log.")
@api_flags
def proxy(
    api: ApiClient,
    sidecar_for: str,
    proxy_id: str,
    service: str,
    upstream: tuple[str, ...],
    listen: str,
    service_addr: str,
    log_level: str,
) -> None:
    """Run a mesh proxy in this process, until Ctrl-C. It takes over from one that the agent had launched."""
    if sum(map(bool, (sidecar_for, proxy_id, service))) != 1:
        raise click.UsageError("needs one of -sidecar-for, -proxy-id and -service")
    if not service and (upstream or listen or service_addr):
        raise click.UsageError("-upstream, -listen and -service-addr need -service")
    if service and not upstream and not listen:
        raise click.UsageError("-service needs -upstream or -listen, or both")
    if bool(listen) != bool(service_addr):
        raise click.UsageError("-listen and -service-addr need each other")
    control = _control_socket(api)
    if not service:
        _run(proxy_id or _sidecar_of(api, sidecar_for), control, log_level)
        return
    registration = _registration(service, upstream, listen, service_addr)
    api.put(path_of("agent", "service", "register"), body=registration)
    try:
        _run(registration["ID"], control, log_level)
    finally:
        try:
            api.put(path_of("agent", "service", "deregister", registration["ID"]))
        except Unreachable as error:
            click.echo(f"Could not deregister {registration['ID']}: {error.message}", err=True)


def _run(proxy_id: str, control: Path, log_level: str) -> None:
    from chowk.connect.proxy.main import run_proxy
    from chowk.core.runtime import logging

    try:
        logging.configure(log_level, json=False, process="proxy")
    except ValueError as error:
        raise click.UsageError(f"-log-level: {error}") from None
    click.echo(f"Proxy {proxy_id} starting; Ctrl-C stops it.", err=True)
    run_proxy(proxy_id, control, manual=True)


def _sidecar_of(api: ApiClient, service_id: str) -> str:
    services: dict[str, dict[str, Any]] = api.get(path_of("agent", "services"))
    found = sorted(
        key
        for key, one in services.items()
        if one.get("Kind") == PROXY_KIND and (one.get("Proxy") or {}).get("DestinationServiceID") == service_id
    )
    if not found:
        known = "" if service_id in services else f'\nThere is no service with the id "{service_id}" on this agent.'
        raise Failure(
            f"No sidecar proxy registered for {service_id}{known}\n"
            "Give the service a `connect { sidecar_service {} }` block and register it again."
        )
    if len(found) > 1:
        ids = "\n".join(f"  {key}" for key in found)
        raise Failure(f"More than one sidecar proxy registered for {service_id}. Choose one with -proxy-id:\n{ids}")
    return found[0]


def _control_socket(api: ApiClient) -> Path:
    debug = api.get(path_of("agent", "self")).get("DebugConfig") or {}
    if not debug.get("ProxySocket"):
        raise Failure(f"the agent at {api.address} serves no proxies: is `connect {{ enabled = false }}` set?")
    path = Path(debug["ProxySocket"])
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Failure(
            f"cannot reach the agent's proxy socket {path}: {error.strerror}\n"
            "A proxy must run on the agent's host, as the agent's user."
        ) from error
    if not os.access(path, os.R_OK | os.W_OK):
        raise Failure(f"this user may not open the agent's proxy socket {path} (mode {mode & 0o777:o})")
    return path


def _registration(service: str, upstreams: tuple[str, ...], listen: str, service_addr: str) -> dict[str, Any]:
    proxy_settings: dict[str, Any] = {
        "DestinationServiceName": service,
        "Upstreams": [_upstream(text) for text in upstreams],
    }
    registration: dict[str, Any] = {
        "Kind": PROXY_KIND,
        "ID": f"{service}-proxy-{secrets.token_hex(4)}",
        "Name": f"{service}-proxy",
        "Proxy": proxy_settings,
        "Launch": False,
    }
    if not listen:
        # It only dials out: a port is needed to register, and the check keeps others from dialling it.
        registration["Port"] = proxy_settings["Upstreams"][0]["LocalBindPort"]
        registration["Check"] = {"Name": "takes no connections", "TTL": "24h", "Status": "critical"}
    else:
        registration["Address"], registration["Port"] = _host_port(listen, "listen")
        host, port = _host_port(service_addr, "service-addr")
        proxy_settings |= {"LocalServiceAddress": host, "LocalServicePort": port}
    return registration


def _upstream(text: str) -> dict[str, Any]:
    name, separator, rest = text.partition(":")
    if not name or not separator:
        raise click.UsageError(f'-upstream takes NAME:[ADDRESS:]PORT, not "{text}"')
    host, port = _host_port(rest, "upstream")
    return {"DestinationName": name, "LocalBindAddress": host, "LocalBindPort": port}


def _host_port(text: str, flag_name: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise click.UsageError(f'-{flag_name}: "{text}" does not end in a port from 1 to 65535')
    return host.strip("[]") or "127.0.0.1", int(port)
