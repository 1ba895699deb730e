"""Who wants to be called when something happens. Owned by whoever it happens to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Callbacks(Generic[T]):
    """Called in the order they were added, each with what happened; they must not block."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[T], None]] = []

    def add(self, callback: Callable[[T], None]) -> Callable[[], None]:
        """Call back from now on; returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def call(self, happened: T) -> None:
        """It happened."""
        for callback in list(self._callbacks):
            callback(happened)
