"""A command line as Go's `flag` package reads it, put into the spelling that click reads. Pure. Called by `command.Command`.

One dash or two, `-flag=value` or `-flag value`, one-letter flags too (`-n=2`); a switch alone or with `=true` or `=false`.
Beyond Go, flags may stand behind arguments.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import click

TRUE: Final = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE: Final = frozenset(("0", "f", "F", "false", "FALSE", "False"))
HELP: Final = frozenset(("h", "help"))
NEAR_MAX: Final = 3


@dataclass
class Line:
    """`flags` and `arguments` in click's spelling, and the parameters of switches that are false at last."""

    flags: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def words(self) -> list[str]:
        """All of it."""
        return [*self.flags, "--", *self.arguments] if self.arguments else self.flags


def read_line(
    words: Sequence[str], options: Mapping[str, click.Option], *, interspersed: bool = True, free: bool = False
) -> Line:
    """Read `words` with `options` by their names without dashes. A click.UsageError says what is wrong.

    Unless `interspersed`, all that stands behind the first argument belongs to it. With `free`, arguments behind the first
    may begin with a dash when no flag is called so, or nearly so.
    """
    line, rest = Line(), deque(words)
    while rest:
        word = rest.popleft()
        if word == "--":
            line.arguments += rest
            return line
        if not word.startswith("-") or word == "-":
            line.arguments.append(word)
            if not interspersed:
                line.arguments += rest
                return line
            continue
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        option = options.get(name)
        if name in HELP and option is None:
            line.flags.append("--help")
        elif option is not None:
            _take(line, option, name, value if equals else None, rest)
        elif free and line.arguments and not near(name, options):
            line.arguments.append(word)
        else:
            raise click.NoSuchOption(word.partition("=")[0])
    return line


def near(name: str, known: Iterable[str]) -> list[str]:
    """The names that may have been meant: alike ones, else those that begin so."""
    names = sorted(known)
    return difflib.get_close_matches(name, names, n=1) or [each for each in names if each.startswith(name)][:NEAR_MAX]


def names_of(params: Iterable[click.Parameter], kind: type[click.Option] = click.Option) -> dict[str, click.Option]:
    """The options of that `kind` by each of their names, without dashes."""
    return {name.lstrip("-"): param for param in params if isinstance(param, kind) for name in param.opts}


def _take(line: Line, option: click.Option, name: str, value: str | None, rest: deque[str]) -> None:
    spelling = option.opts[0]
    if option.is_flag:
        _switch(line, option, name, "true" if value is None else value)
        return
    if value is None and option.type is click.BOOL:
        value = "true"
    if value is None:
        if not rest:
            raise click.BadOptionUsage(name, f"flag needs an argument: -{name}")
        value = rest.popleft()
    line.flags += [f"{spelling}={value}"] if spelling.startswith("--") else [spelling, value]


def _switch(line: Line, option: click.Option, name: str, value: str) -> None:
    spelling, parameter = option.opts[0], option.name or ""
    if value in TRUE:
        line.flags.append(spelling)
        line.refused.discard(parameter)
    elif value in FALSE:
        line.flags = [word for word in line.flags if word != spelling]
        line.refused |= {parameter} if option.expose_value else set()
    else:
        raise click.BadParameter(f'-{name} is a switch, true or false, and not "{value}"')
