"""Waiting for a condition of a real system, bounded, without guessing how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.02


def eventually(condition: Callable[[], T], what: str, timeout_s: float = 15.0) -> T:
    """The first truthy value of `condition`; exceptions count as not yet. AssertionError names `what` and the last state."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
            last = value
        except Exception as error:
            last = error
        time.sleep(POLL_S)
    raise AssertionError(f"not within {timeout_s:g}s: {what}; last: {last!r}")
