"""docs/cli.md says what there is: each command once, and no flag or variable that is none."""

from __future__ import annotations

import re
from pathlib import Path

import click

from chowk.cli import root

DOCUMENT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def walk(command: click.Command, path: str) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {path: command}
    ctx = click.Context(command)
    found = {}
    for name in command.list_commands(ctx):
        if path == "chowk" and name == "agent":
            continue
        child = command.get_command(ctx, name)
        assert child is not None
        found |= walk(child, f"{path} {name}")
    return found


LEAVES = walk(root, "chowk")


def test_the_table_of_commands_is_complete():
    rows = re.findall(r"^\| `(chowk [a-z -]+)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(rows) == sorted([*LEAVES, "chowk agent"])


def test_each_flag_a_row_names_is_one_of_its_command():
    for path, text in re.findall(r"^\| `(chowk [a-z -]+)` \| (.*) \|$", DOCUMENT, re.MULTILINE):
        known = {name.lstrip("-") for param in LEAVES[path].params for name in param.opts} if path in LEAVES else None
        for name in re.findall(r"`[^`]*?-([a-z][a-z0-9-]+)", text):
            assert known is None or name in known, f"{path}: {name}"


def test_each_variable_is_honoured_under_both_names():
    named = set(re.findall(r"CHOWK_[A-Z_]+", DOCUMENT)) - {"CHOWK_COMPLETE"}
    honoured = {name for param in LEAVES["chowk info"].params for name in param.envvar or ()}
    assert named <= honoured
    assert {name.replace("CHOWK_", "CONSUL_") for name in named} <= honoured
