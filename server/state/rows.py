"""Rows of a frozen table, made when they are asked for, in whatever thread, as often as they are. Used by `snapshot`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Rows(Generic[T]):
    """`make` gives the same rows each time: what it looks at was copied."""

    def __init__(self, make: Callable[[], Iterable[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return iter(self._make())
