"""docs/config-reference.md, printed from the tables of keys; a test asserts that the document is what this prints.

Run as `python -m chowk.agent.config.reference > docs/config-reference.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import isfinite

from chowk.agent.config import schema as s
from chowk.agent.config.keys_agent import AGENT
from chowk.agent.config.keys_entry import ENTRIES

INTRODUCTION = """\
# Configuration reference

Files of `-config-file` and `-config-dir` (`*.hcl` and `*.json` of the folder in lexical order) hold the keys below.
Later files win, lists append, blocks and maps join, and flags win over files. HCL 1 with the habits of HCL 2 is read,
and JSON; each key may be written in snake_case or CamelCase. A key marked *later* is known, and kept, but has no effect
yet: the agent says so in a warning. A key that is not here is an error that names the nearest one. `chowk validate`
checks files without running anything.

A *duration* is written like `"10s"`, `"250ms"` or `"1h30m"`. Where *blocks* are meant, a list, one object, or the block
repeated will do. Keys marked *reload* take effect on SIGHUP and `chowk reload`; the others with a restart.

This file is printed from the tables in `agent/config/`: `python -m chowk.agent.config.reference`.
"""


def reference() -> str:
    """The whole document."""
    parts = [INTRODUCTION]
    roots = [("The agent", AGENT), *((f"Config entry {name}", schema) for name, schema in ENTRIES.items())]
    printed: set[str] = set()
    queue = list(roots)
    while queue:
        title, schema = queue.pop(0)
        if schema.name in printed:
            continue
        printed.add(schema.name)
        parts.append(f"## {title}\n\n" + _table(schema))
        queue[:0] = [(f"`{inner.name}`", inner) for inner in _inner(schema)]
    return "\n".join(parts)


def _inner(schema: s.Schema) -> Iterator[s.Schema]:
    for key in schema.keys:
        if isinstance(key.type, (s.Block, s.Blocks, s.BlockMap, s.Open)):
            yield key.type.schema


def _table(schema: s.Schema) -> str:
    rows = ["| key | type | default | meaning | |", "|---|---|---|---|---|"]
    for key in schema.keys:
        names = ", ".join(f"`{name}`" for name in (key.name, *key.also))
        marks = " ".join((*(("reload",) if key.reload else ()), *(("later",) if not key.served else ())))
        rows.append(f"| {names} | {type_words(key.type)} | {_cell(key.default)} | {_cell(key.doc)} | {marks} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def type_words(kind: s.Type) -> str:
    """A type in the words of the document."""
    match kind:
        case s.Text(choices) if choices:
            return " or ".join(f'`"{choice}"`' for choice in choices if choice) or "empty"
        case s.Whole(minimum, maximum):
            return f"whole number {minimum}–{maximum}" if maximum < 2**31 - 1 else "whole number"
        case s.Number(minimum, maximum) if isfinite(maximum):
            return f"number {minimum:g}–{maximum:g}"
        case s.Block(schema):
            return f"block `{schema.name}`"
        case s.Open(schema):
            return f"open block `{schema.name}`"
        case s.Blocks(schema):
            return f"blocks `{schema.name}`"
        case s.BlockMap(schema):
            return f"map of `{schema.name}`"
        case _:
            return _WORDS[type(kind)]


_WORDS: dict[type[s.Type], str] = {
    s.Text: "string",
    s.Number: "number",
    s.Flag: "boolean",
    s.Duration: "duration",
    s.Period: "duration",
    s.Wholes: "list of whole numbers",
    s.Texts: "list of strings",
    s.TextMap: "map of strings",
    s.TextsMap: "map of lists of strings",
    s.DurationMap: "map of durations",
    s.Anything: "as written",
    s.Objects: "blocks: config entries",
}


if __name__ == "__main__":
    sys.stdout.write(reference())
