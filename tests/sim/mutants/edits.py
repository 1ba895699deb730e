"""How a bug is planted: a function is read, one passage is replaced, and the result stands in its place for a while.

So a mutant says exactly what it breaks, and one that no longer fits the code fails its test at once.
"""

from __future__ import annotations
import __future__ as future

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any
from unittest import mock

import msgspec


class Edit(msgspec.Struct, frozen=True):
    """`where`: module:function or module:Class.method. `old` must be there once."""

    where: str
    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True):
    """A classic bug. `number` and `name` are RELIABILITY.md's; `kind` is the profile that shows it soonest."""

    number: int
    name: str
    kind: str
    edits: tuple[Edit, ...]

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """While this lasts every server has the bug."""
        texts: dict[str, str] = {}
        for edit in self.edits:
            owner, name = _owner(edit.where)
            text = texts.get(edit.where) or textwrap.dedent(inspect.getsource(getattr(owner, name)))
            if text.count(edit.old) != 1:
                raise LookupError(f"mutant {self.number} no longer fits {edit.where}: {edit.old!r} is not there once")
            texts[edit.where] = text.replace(edit.old, edit.new)
        with contextlib.ExitStack() as stack:
            for where, text in texts.items():
                owner, name = _owner(where)
                stack.enter_context(mock.patch.object(owner, name, _made(getattr(owner, name), name, text)))
            yield


def _owner(where: str) -> tuple[Any, str]:
    module, _colon, path = where.partition(":")
    *classes, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


def _made(original: Any, name: str, text: str) -> Any:
    code = compile(text, f"<mutant of {name}>", "exec", flags=future.annotations.compiler_flag, dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, original.__globals__, made)
    return made[name]
