"""`?filter=` as a function of records. Called by the list endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from chowk.core import codec
from chowk.core.filter.evaluate import predicate
from chowk.core.filter.parser import parse
from chowk.core.filter.selectors import check

T = TypeVar("T")


def compile_filter(text: str, kind: Any) -> Callable[[T], bool]:
    """Which records of type `kind` to keep; "" keeps all. FilterError when the text is not a filter of them."""
    if not text.strip():
        return lambda _record: True
    expression = parse(text)
    check(expression, kind)
    matches = predicate(expression, kind)
    return lambda record: matches(codec.to_builtins(record))


def keep(text: str, kind: type[T], records: Iterable[T]) -> list[T]:
    """The `records` that the filter `text` keeps, in their order."""
    return list(filter(compile_filter(text, kind), records))
