"""`chowk config write|diff|read|list|delete`."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, ApiError, path_of
from chowk.agent.commands.command import Command, Failure, Group, flag
from chowk.agent.commands.config_plan import fetch_plan, show_plan, show_warnings, with_fields
from chowk.agent.commands.documents import read_config_entries, read_config_entry
from chowk.agent.commands.output import JSON, format_flag, show_json, show_line

CONFIG = path_of("config")

DIFFERENT_CODE, ERROR_CODE = 1, 2

command = Group("config", help="Write, compare, read, list and delete config entries.")


class _Diff(Command):
    error_code = ERROR_CODE


@command.command(
    "write",
    examples="""
    chowk config write web-defaults.hcl
    chowk config write -dry-run web-router.hcl
    chowk config write -cas -modify-index=42 web-defaults.hcl
    echo '{"Kind": "proxy-defaults", "Name": "global"}' | chowk config write -""",
)
@click.argument("file")
@flag("--cas", is_flag=True, help="Write only if it was not changed since -modify-index (0: if there is none).")
@flag("--modify-index", type=click.IntRange(0), default=0, metavar="INDEX", help="The index for -cas.")
@flag("--dry-run", is_flag=True, help="Show what would change, and for whom; write nothing.")
@flag("--force", is_flag=True, help="Take faults of any percentage. That they end within 24h stays.")
@api_flags
def write(api: ApiClient, file: str, cas: bool, modify_index: int, dry_run: bool, force: bool) -> None:
    """Write the config entry of an HCL or JSON FILE; `-` is standard input."""
    _check_cas(cas, modify_index)
    entry = read_config_entry(file, force=force)
    if dry_run:
        plan = fetch_plan(api, [entry], force=force)
        show_plan(plan)
        _fail_if_refused(plan)
        return
    query = {"cas": str(modify_index)} if cas else {}
    plan = {}
    with contextlib.suppress(ApiError):  # what is wrong the write says too; and an agent of another make has no plans
        plan = fetch_plan(api, [entry], force=force)
    try:
        reply = api.put(CONFIG, {**query, "force": "true"} if force else query, entry.body)
    except ApiError as failure:
        raise Failure(f"{'standard input' if file == '-' else file}: {failure.message}", failure.code) from failure
    if reply.json() is False:
        raise Failure(f"Config entry not updated: {entry.kind}/{entry.name}: it was changed since index {modify_index}")
    show_line(f"Config entry written: {entry.kind}/{entry.name}")
    show_warnings(plan, aside=True)


@command.command(
    "diff",
    cls=_Diff,
    examples="""
    chowk config diff web-router.hcl
    chowk config diff entries/*.hcl && echo nothing to do""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@flag("--force", is_flag=True, help="As for `config write`.")
@format_flag
@api_flags
def diff(api: ApiClient, files: tuple[str, ...], force: bool, output_format: str) -> int:
    """Show what writing the config entries of all FILES would change: each value, and the services and sidecars it is about.
    Files with `config_entries { bootstrap [ … ] }` will do too. Exit code 0: nothing, 1: something, 2: an error, or
    the servers would refuse it."""
    entries = [entry for file in files for entry in read_config_entries(file, force=force)]
    plan = fetch_plan(api, entries, force=force)
    if output_format == JSON:
        show_json(with_fields(plan))
    else:
        show_plan(plan)
    _fail_if_refused(plan)
    return DIFFERENT_CODE if plan["Changes"] else 0


def _fail_if_refused(plan: dict[str, Any]) -> None:
    if plan["Refusal"]:
        raise Failure(f"the servers would refuse this:\n{plan['Refusal']}")


@command.command("read", examples="chowk config read -kind service-defaults -name web")
@flag("--kind", required=True, metavar="KIND", help="The kind of the entry.")
@flag("--name", required=True, metavar="NAME", help="The name of the entry.")
@flag("--format", type=click.Choice([JSON]), default=JSON, expose_value=False, help="Format of the output.")
@api_flags
def read(api: ApiClient, kind: str, name: str) -> None:
    """Show a config entry as JSON."""
    show_json(api.get(path_of("config", kind, name)))


@command.command("list", examples="chowk config list -kind service-intentions")
@flag("--kind", required=True, metavar="KIND", help="The kind of the entries.")
@flag("--filter", default="", metavar="EXPRESSION", help="Only entries for which this holds.")
@format_flag
@api_flags
def list_entries(api: ApiClient, kind: str, filter: str, output_format: str) -> None:
    """List the names of the config entries of a kind, one a line."""
    entries = api.get(path_of("config", kind), {"filter": filter})
    if output_format == JSON:
        show_json(entries)
        return
    for entry in entries:
        show_line(entry["Name"])


@command.command(
    "delete",
    examples="""
    chowk config delete -kind service-defaults -name web
    chowk config delete -filename web-defaults.hcl -cas -modify-index=42""",
)
@flag("--kind", default="", metavar="KIND", help="The kind of the entry.")
@flag("--name", default="", metavar="NAME", help="The name of the entry.")
@flag("--filename", default="", metavar="FILE", help="A file with the entry, instead of -kind and -name.")
@flag("--cas", is_flag=True, help="Delete only if it was not changed since -modify-index.")
@flag("--modify-index", type=click.IntRange(0), default=0, metavar="INDEX", help="The index for -cas.")
@api_flags
def delete(api: ApiClient, kind: str, name: str, filename: str, cas: bool, modify_index: int) -> None:
    """Delete a config entry."""
    _check_cas(cas, modify_index)
    if filename and (kind or name):
        raise click.UsageError("either -filename, or -kind and -name")
    if filename:
        kind, name, _body = read_config_entry(filename)
    if not kind or not name:
        raise click.UsageError("needs -kind and -name, or -filename")
    reply = api.request("DELETE", path_of("config", kind, name), {"cas": str(modify_index)} if cas else None)
    if reply.body.strip() == b"false":
        raise Failure(f"Config entry not deleted: {kind}/{name}: it was changed since index {modify_index}")
    show_line(f"Config entry deleted: {kind}/{name}")


def _check_cas(cas: bool, modify_index: int) -> None:
    if modify_index and not cas:
        raise click.UsageError("-modify-index needs -cas")
