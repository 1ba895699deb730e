"""What real clients show: the mark of a test that proves a feature for a client, and what a Python client's methods are.

`shows` is read by `client_page`, which makes the table of docs/compatibility.md; `Watched` proves that a test which claims a
method did call it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Shown:
    """A client, and its features that a test saw served: methods by dotted name, or words."""

    client: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """A feature of a client that is refused: how it is asked for, the text of the answer, and why, for the page."""

    feature: str
    call: Callable[[Any], Any]
    answer: str
    reason: str


def shows(client: str, *features: str) -> Callable[[F], F]:
    """Mark a test that fails unless these features of that client work."""

    def mark(test: F) -> F:
        test.shown = Shown(client, features)  # type: ignore[attr-defined]
        return test

    return mark


def methods(client: Any, module: str) -> Iterator[tuple[Any, str, str]]:
    """(owner, name, dotted name) of every public method of a client whose parts are objects of classes of `module`."""
    yield from _methods(client, module, "", frozenset())


def _methods(owner: Any, module: str, path: str, above: frozenset[int]) -> Iterator[tuple[Any, str, str]]:
    for name in sorted(dir(owner)):
        if name.startswith("_"):
            continue
        part = getattr(owner, name)
        if inspect.ismethod(part) and path:
            yield owner, name, f"{path}{name}"
        elif type(part).__module__.startswith(module) and id(part) not in above:
            yield from _methods(part, module, f"{path}{name}.", above | {id(owner), id(part)})


class Watched:
    """A client whose methods note, in `called`, that they returned."""

    def __init__(self, client: Any, module: str) -> None:
        self.called: set[str] = set()
        self.methods = {path for _owner, _name, path in methods(client, module)}
        for owner, name, path in list(methods(client, module)):
            setattr(owner, name, self._note(getattr(owner, name), path))

    def _note(self, method: Callable[..., Any], path: str) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            self.called.add(path)
            return result

        return call
