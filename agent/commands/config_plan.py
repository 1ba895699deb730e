"""What writing config entries would change, told by the servers and shown field by field. Used by `config diff` and `config
write -dry-run`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click

from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.documents import ConfigEntryFile
from chowk.agent.commands.output import printable

PLAN = path_of("config", "plan")
_ASIDE = frozenset(("Kind", "Name"))
_OF_THE_SERVERS = frozenset(("CreateIndex", "ModifyIndex", "LegacyCreateTime", "LegacyUpdateTime", "Precedence"))
_SHOWN_EMPTY = frozenset(("MeshGateway", "Expose"))
"""Blocks that the servers show, as Consul's do, though nobody wrote them."""
_ABSENT: Any = object()


class FieldChange(NamedTuple):
    """One value that would change: `old` or `new` is None where there is none."""

    path: str
    old: Any
    new: Any


def fetch_plan(api: ApiClient, entries: Sequence[ConfigEntryFile], *, force: bool) -> dict[str, Any]:
    """`Changes`, `Affected`, `Warnings` and `Refusal` of a write of all the entries."""
    query = {"force": "true"} if force else None
    plan: dict[str, Any] = api.put(PLAN, query, [entry.body for entry in entries]).json()
    return plan


def with_fields(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with `Fields` for each change in place of the whole entries, for scripts."""
    changes = [
        {
            "Kind": change["Kind"],
            "Name": change["Name"],
            "ModifyIndex": (change["Old"] or {}).get("ModifyIndex", 0),
            "Fields": [
                {"Path": field.path, "Old": field.old, "New": field.new}
                for field in field_changes(change["Old"] or {}, change["New"])
            ],
        }
        for change in plan["Changes"]
    ]
    return {**plan, "Changes": changes}


def show_plan(plan: dict[str, Any]) -> None:
    """Print it for people: + what comes, - what goes, ~ what becomes something else."""
    if not plan["Changes"]:
        click.echo("No changes.")
    for change in plan["Changes"]:
        old = change["Old"]
        state = (
            f"changes, from index {old['ModifyIndex']} (-cas -modify-index={old['ModifyIndex']})" if old else "is new"
        )
        click.secho(printable(f"{change['Kind']}/{change['Name']} {state}"), bold=True)
        for field in field_changes(old or {}, change["New"]):
            _show_field(field)
    if plan["Affected"]:
        click.echo("Affected:")
    for each in plan["Affected"]:
        name = "every service" if each["Service"] == "*" else each["Service"]
        instances, sidecars = _count(each["Instances"], "instance"), _count(each["Sidecars"], "sidecar")
        reach = f"{sidecars} in all" if each["Service"] == "*" else f"{instances} in the mesh, dialled by {sidecars}"
        click.echo(printable(f"  {name}: {reach}"))
    show_warnings(plan)


def show_warnings(plan: dict[str, Any], *, aside: bool = False) -> None:
    """What of it may not be meant. `aside`: on standard error."""
    for warning in plan.get("Warnings", ()):
        click.secho(printable(f"Warning: {warning}"), fg="yellow", err=aside)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _show_field(field: FieldChange) -> None:
    old, new = _text(field.old), _text(field.new)
    if field.old is None:
        click.secho(printable(f"  + {field.path} = {new}"), fg="green")
    elif field.new is None:
        click.secho(printable(f"  - {field.path} = {old}"), fg="red")
    else:
        click.secho(printable(f"  ~ {field.path}: {old} -> {new}"), fg="yellow")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def field_changes(old: dict[str, Any], new: dict[str, Any]) -> list[FieldChange]:
    """The values of two forms of one entry that differ, by path. What the servers add by themselves is passed over."""
    return [
        change
        for change in _changes(old, new, "")
        if change.path not in _ASIDE and not (change.path in _SHOWN_EMPTY and not change.old and not change.new)
    ]


def _changes(old: Any, new: Any, path: str) -> Iterator[FieldChange]:
    if old is not _ABSENT and new is not _ABSENT and old == new:
        return
    if isinstance(old, dict) or isinstance(new, dict):
        yield from _of_objects(old, new, path)
    elif isinstance(old, list) or isinstance(new, list):
        yield from _of_lists(old, new, path)
    else:
        yield FieldChange(path, None if old is _ABSENT else old, None if new is _ABSENT else new)


def _of_objects(old: Any, new: Any, path: str) -> Iterator[FieldChange]:
    before, after = (value if isinstance(value, dict) else {} for value in (old, new))
    if not before and not after:  # a block that comes or goes, and holds nothing
        yield FieldChange(path, None if old is _ABSENT else old, None if new is _ABSENT else new)
    for key in (*before, *(key for key in after if key not in before)):
        if key not in _OF_THE_SERVERS:
            yield from _changes(before.get(key, _ABSENT), after.get(key, _ABSENT), f"{path}.{key}" if path else key)


def _of_lists(old: Any, new: Any, path: str) -> Iterator[FieldChange]:
    """Items are told by their Name where each has one, else by their places between what both begin and end with."""
    before, after = (value if isinstance(value, list) else [] for value in (old, new))
    names = _names(before), _names(after)
    if names[0] is not None and names[1] is not None and (before or after):
        for name in dict.fromkeys((*names[0], *names[1])):
            yield from _changes(names[0].get(name, _ABSENT), names[1].get(name, _ABSENT), path + name)
        return
    shared = min(len(before), len(after))
    start = next((at for at in range(shared) if before[at] != after[at]), shared)
    end = next((at for at in range(shared - start) if before[-1 - at] != after[-1 - at]), shared - start)
    for at in range(start, max(len(before), len(after)) - end):
        left = before[at] if at < len(before) - end else _ABSENT
        right = after[at] if at < len(after) - end else _ABSENT
        yield from _changes(left, right, f"{path}[{at}]")


def _names(items: list[Any]) -> dict[str, Any] | None:
    """The items by their `Name` in brackets; None where they have none, or one twice."""
    found = {f'["{item["Name"]}"]': item for item in items if isinstance(item, dict) and item.get("Name")}
    return found if len(found) == len(items) else None
