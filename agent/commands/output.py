"""How commands print: aligned columns, JSON, colours on terminals only. Called by the commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from chowk.agent.commands.command import flag

_STEERING = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters that JSON does not escape by itself: C1 controls, and those that turn the direction of text."""

F = TypeVar("F", bound=Callable[..., Any])

PRETTY = "pretty"
JSON = "json"
_STATUS_COLOURS = {
    "alive": "green", "passing": "green", "allow": "green", "Allowed": "green", "leader": "green",
    "ok": "green", "warning": "yellow", "leaving": "yellow", "left": "yellow", "failed": "red", "critical": "red",
    "deny": "red", "Denied": "red",
}  # fmt: skip


def format_flag(function: F) -> F:
    """Add `-format`, handed to the function as `output_format`."""
    return flag(
        "--format", "output_format", type=click.Choice([PRETTY, JSON]), default=PRETTY, help="Format of the output."
    )(function)


def show_json(value: Any, indent: int | str = 4) -> None:
    """Print a value as indented JSON; what could steer a terminal is written as JSON's own escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    click.echo(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def show_table(rows: Iterable[Sequence[Any]]) -> None:
    """Print rows (the first one usually a heading) in columns two spaces apart."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells), default=0))]
    for row in cells:
        padded = [_coloured(cell) + " " * (widths[i] - len(cell)) for i, cell in enumerate(row[:-1])]
        click.echo("  ".join([*padded, _coloured(row[-1])]) if row else "")


def show_line(text: str) -> None:
    """Print one line whose text came from elsewhere."""
    click.echo(_coloured(printable(text)))


def printable(text: str) -> str:
    """The text without control characters: a name in the catalog must not steer somebody's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _coloured(cell: str) -> str:
    colour = _STATUS_COLOURS.get(cell)
    return click.style(cell, fg=colour) if colour else cell
