"""`chowk connect bypass`: break glass. Audited, and it ends by itself."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, ApiError, path_of
from chowk.agent.commands.command import Failure, Group, flag
from chowk.agent.commands.output import JSON, format_flag, show_json, show_line, show_table
from chowk.agent.commands.registered import warn_unregistered
from chowk.core.durations import parse_duration

KIND: Final = "service-bypass"
NOT_FOUND: Final = 404
HERE: Final = path_of("agent", "bypass")


def add_to(group: Group) -> None:
    """Add the command."""

    @group.command(
        "bypass",
        examples="""
        chowk connect bypass -service db -for 30m -reason "INC-42: certificates ended"
        chowk connect bypass -service db -for 30m -reason "INC-42: no servers" -host
        chowk connect bypass
        chowk connect bypass -end -service db""",
    )
    @flag("--service", default="", metavar="NAME", help="The service that is to be reached.")
    @flag("--for", "lasts", default="", metavar="DURATION", help="How long; at most 24h.")
    @flag("--reason", default="", metavar="TEXT", help="Why, for those who ask later.")
    @flag("--host", is_flag=True, help="On this agent's host alone: works without servers.")
    @flag("--end", is_flag=True, help="End it before its time.")
    @format_flag
    @api_flags
    def bypass(
        api: ApiClient, service: str, lasts: str, reason: str, host: bool, end: bool, output_format: str
    ) -> None:
        """Let connections to a service through although intentions deny it or certificates have ended.

        Who connects still proves who it is. Each use is counted and logged, and it lapses by itself. Without flags: those in
        force.
        """
        if not service:
            if lasts or reason or end:
                raise click.UsageError("-service is missing")
            _list(api, output_format)
        elif end:
            _end(api, service, host=host)
        else:
            if not lasts or not reason:
                raise click.UsageError("a bypass needs -for and -reason")
            _begin(api, service, lasts, reason, host=host)


def _begin(api: ApiClient, service: str, lasts: str, reason: str, *, host: bool) -> None:
    if host:
        body = {"Service": service, "Lasts": lasts, "Reason": reason, "By": _who()}
        expires = api.put(HERE, body=body).json()["Expires"]
    else:
        expires = _moment(lasts)
        entry = {"Kind": KIND, "Name": service, "Expires": expires, "Reason": reason, "By": _who()}
        try:
            api.put(path_of("config"), body=entry)
        except ApiError as error:
            if error.status < 500:
                raise
            raise Failure(f"{error.message}\nNo server takes it. On each host of the service, add -host.") from error
    where = "on this host" if host else "in the whole mesh"
    show_line(f"Connections to {service} are let through {where} until {expires}. End it sooner with -end.")
    if not host:  # with -host there may be no server to ask, and no time to wait for one
        warn_unregistered(api, service)


def _end(api: ApiClient, service: str, *, host: bool) -> None:
    """That of this host, and unless `host` that of the mesh. Whoever mistypes a name must not think that one is over."""
    ended = []
    if any(each["Service"] == service for each in api.get(HERE)):
        api.request("DELETE", path_of("agent", "bypass", service), {"by": _who()})
        ended.append("on this host")
    try:
        if not host and _is_in_mesh(api, service):
            api.request("DELETE", path_of("config", KIND, service))
            ended.append("in the mesh")
    except ApiError as error:
        if error.status < 500:
            raise
        here = "That of this host is over. " if ended else ""
        raise Failure(
            f"{error.message}\n{here}No server takes it: one of the whole mesh goes on until it lapses."
        ) from error
    if not ended:
        raise Failure(
            f'no bypass of "{service}" is in force {"on this host" if host else "in the mesh or on this host"}'
        )
    show_line(f"The bypass of {service} is over {' and '.join(ended)}.")


def _is_in_mesh(api: ApiClient, service: str) -> bool:
    try:
        api.get(path_of("config", KIND, service))
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
        return False
    return True


def _list(api: ApiClient, output_format: str) -> None:
    """What no server can tell is left out, and said."""
    found: list[dict[str, Any]] = [{**each, "Where": "this host"} for each in api.get(HERE)]
    try:
        everywhere = api.get(path_of("config", KIND))
    except ApiError as error:
        if error.status < 500:
            raise
        click.echo("No server answers: only those of this host are shown.", err=True)
        everywhere = []
    now = datetime.now(UTC)
    found += [
        {
            "Service": each["Name"],
            "Where": "the mesh",
            **{name: each.get(name, "") for name in ("Expires", "Reason", "By")},
        }
        for each in everywhere
        if datetime.fromisoformat(each["Expires"]) > now
    ]
    if output_format == JSON:
        show_json(found)
    elif not found:
        show_line("No bypass is in force.")
    else:
        names = ("Service", "Where", "Expires", "Reason", "By")
        show_table([names, *([each[name] for name in names] for each in found)])


def _moment(lasts: str) -> str:
    try:
        seconds = parse_duration(lasts)
    except ValueError as error:
        raise click.UsageError(f"-for: {error}") from None
    if seconds <= 0:
        raise click.UsageError("-for: a bypass lasts more than 0s")
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _who() -> str:
    """As the system knows this user: `SUDO_USER` is who became root."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
