"""Which files a configuration is made of, and their text: the one place of this room that reads disks. Called by `build`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from chowk.agent.config.parse import TEXT_CHARS_MAX, parse
from chowk.agent.config.problems import ConfigError, Problem, Problems
from chowk.agent.config.tree import ObjectNode
from chowk.core.definitions import Position

SUFFIXES = (".hcl", ".json")
FILES_MAX = 10_000
"""More files than this in one folder are no configuration."""


def read_all(paths: Sequence[str], problems: Problems, *, any_ending: bool = False) -> Iterator[tuple[str, ObjectNode]]:
    """The trees of `paths` in turn; of a folder, of its *.hcl and *.json in lexical order, or of all its files with
    `any_ending`. Problems are noted."""
    suffixes = ("",) if any_ending else SUFFIXES
    for path in _files(paths, suffixes, problems):
        try:
            tree = parse(_text(path), path)
        except ConfigError as error:
            problems.extend(error)
            continue
        yield path, tree


def _files(paths: Sequence[str], suffixes: tuple[str, ...], problems: Problems) -> Iterator[str]:
    for path in paths:
        if Path(path).is_dir():
            yield from _listed(path, suffixes, problems)
        else:
            yield path


def _listed(folder: str, suffixes: tuple[str, ...], problems: Problems) -> Iterator[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(suffixes) and entry.is_file())
    except OSError as error:
        problems.add(Position(), f"cannot read the folder {folder}: {error.strerror}")
        return
    if len(names) > FILES_MAX:
        problems.add(Position(), f"{folder} holds more than {FILES_MAX} files")
        return
    for name in names:
        yield str(Path(folder) / name)


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(TEXT_CHARS_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(Position(), f"cannot read {path}: {reason}")]) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rpartition(b"\n")[2]) + 1
        where = Position(file=path, line=before.count(b"\n") + 1, column=column)
        raise ConfigError([Problem(where, "the file is not UTF-8 text")]) from None
