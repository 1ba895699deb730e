"""HCL and JSON files handed to a command, read on this side so that errors name file:line. Called by the commands.

What is in them is judged by the agent, which takes HCL's snake_case keys as well as JSON's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from chowk.agent.commands.command import Failure
from chowk.agent.commands.output import printable

if TYPE_CHECKING:
    from chowk.agent.config.tree import ObjectNode

STDIN = "-"


def read_text(path: str) -> str:
    """The text of a file, or of standard input for `-`. Failure when it cannot be read."""
    try:
        return sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Failure(f"cannot read {path}: it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror or error}") from error


def read_document(path: str) -> ObjectNode:
    """The tree of a file. Failure with file:line:column of each problem."""
    from chowk.agent.config.parse import parse
    from chowk.agent.config.problems import ConfigError

    try:
        return parse(read_text(path), "stdin" if path == STDIN else path)
    except ConfigError as error:
        raise Failure(str(error)) from error


def read_plain(path: str) -> dict[str, Any]:
    """The file as plain data."""
    from chowk.agent.config.tree import to_plain

    plain: dict[str, Any] = to_plain(read_document(path))
    return plain


def read_services(path: str) -> list[dict[str, Any]]:
    """The `service { … }` blocks and `services [ … ]` lists of a file. Failure when there is none."""
    from chowk.agent.config.definitions import decode_service
    from chowk.agent.config.problems import ConfigError, Problems
    from chowk.agent.config.tree import ListNode, ObjectNode, to_plain

    found = []
    problems = Problems()
    for entry in read_document(path).entries:
        if entry.key.lower() not in ("service", "services"):
            continue
        for node in entry.value.items if isinstance(entry.value, ListNode) else (entry.value,):
            if not isinstance(node, ObjectNode):
                raise Failure(f"{entry.position}: a service must be a block")
            decode_service(node, problems)
            found.append(to_plain(node))
    try:
        problems.raise_if_any()
    except ConfigError as error:
        raise Failure(str(error)) from error
    if not found:
        raise Failure(f"{path}: no services: write them as `service {{ … }}` blocks")
    return found


class ConfigEntryFile(NamedTuple):
    """A config entry of a file, and `body`: what to send for it."""

    kind: str
    name: str
    body: dict[str, Any]


def read_config_entry(path: str, *, force: bool = False) -> ConfigEntryFile:
    """The config entry that a file is. Failure with file:line:column of each problem; warnings go to standard error."""
    entries = _decoded([read_document(path)], path, force=force)
    return entries[0]


def read_config_entries(path: str, *, force: bool = False) -> list[ConfigEntryFile]:
    """The config entry that a file is, or those in its `config_entries { bootstrap [ … ] }`. Failure as above."""
    from chowk.agent.config.config_entries import is_config_entry
    from chowk.agent.config.tree import ListNode, ObjectNode

    tree = read_document(path)
    if is_config_entry(tree):
        return _decoded([tree], path, force=force)
    found: list[ObjectNode] = []
    for entry in tree.entries:
        blocks = entry.value.items if isinstance(entry.value, ListNode) else (entry.value,)
        if entry.key.replace("_", "").lower() != "configentries":
            continue
        for inner in (each for block in blocks if isinstance(block, ObjectNode) for each in block.entries):
            items = inner.value.items if isinstance(inner.value, ListNode) else (inner.value,)
            found += [item for item in items if isinstance(item, ObjectNode) and inner.key.lower() == "bootstrap"]
    if not found:
        raise Failure(
            f"{path}: no config entry: one has a Kind at its top, or is in config_entries {{ bootstrap [ … ] }}"
        )
    return _decoded(found, path, force=force)


def _decoded(trees: Sequence[ObjectNode], path: str, *, force: bool) -> list[ConfigEntryFile]:
    from chowk.agent.config.config_entries import decode_config_entry
    from chowk.agent.config.problems import ConfigError, Problems
    from chowk.agent.config.tree import to_plain

    problems = Problems()
    entries = [(decode_config_entry(tree, problems, now=time.time(), force=force), tree) for tree in trees]
    try:
        problems.raise_if_any()
    except ConfigError as error:
        raise Failure(str(error)) from error
    for warning in problems.warnings:
        click.echo(f"Warning: {printable(warning)}", err=True)
    found = [ConfigEntryFile(entry.kind, entry.name, to_plain(tree)) for entry, tree in entries if entry is not None]
    if len(found) < len(entries):
        raise Failure(f"{path}: a config entry needs a Kind")
    return found


def get_any(plain: dict[str, Any], *names: str) -> Any:
    """The value under the first of `names` that is there, written in any case and with or without underscores."""
    folded = {key.replace("_", "").lower(): value for key, value in plain.items()}
    return next((folded[name] for name in names if name in folded), None)


def parse_pairs(pairs: tuple[str, ...], flag_name: str) -> dict[str, str]:
    """`("k=v", …)` as a dict. Failure when one has no `=`."""
    wrong = next((pair for pair in pairs if "=" not in pair[1:]), None)
    if wrong is not None:
        raise Failure(f'-{flag_name} takes KEY=VALUE, not "{wrong}"')
    return dict(pair.split("=", 1) for pair in pairs)
