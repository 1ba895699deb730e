"""What one run of a check found, and the Protocol that each kind of check serves. Called by all of `agent.checks`. Pure."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from chowk.core.records.check import CRITICAL, PASSING, WARNING

OUTPUT_BYTES_MAX: Final = 4096
OUTPUT_BYTES_LIMIT: Final = 1_048_576
"""However large `output_max_size` is, no more is read or kept."""


class Outcome(msgspec.Struct, frozen=True):
    """A status and what people read about it."""

    status: str
    output: str


class Check(Protocol):
    """One kind of check, made for one definition. `run` may take any time and raise only CancelledError: the scheduler cuts
    it at `timeout_s` and makes that critical.
    """

    async def run(self) -> Outcome:
        """Look once."""
        ...


def passing(output: str) -> Outcome:
    """All is well."""
    return Outcome(PASSING, output)


def warning(output: str) -> Outcome:
    """Not well, not gone."""
    return Outcome(WARNING, output)


def critical(output: str) -> Outcome:
    """Gone, or not to be used."""
    return Outcome(CRITICAL, output)


def output_limit(output_max_size: int) -> int:
    """The bytes of output to keep for a definition that asks for `output_max_size`."""
    return min(output_max_size if output_max_size > 0 else OUTPUT_BYTES_MAX, OUTPUT_BYTES_LIMIT)


def readable(data: bytes) -> str:
    """Bytes of a target as text: valid UTF-8 without NULs, whatever came."""
    return data.decode("utf-8", errors="replace").replace("\x00", "\ufffd")


def bounded(text: str, bytes_max: int) -> str:
    """`text` cut to at most `bytes_max` bytes of UTF-8, never inside a character."""
    data = text.encode("utf-8", errors="replace")
    if len(data) <= bytes_max:
        return data.decode("utf-8")
    return data[:bytes_max].decode("utf-8", errors="ignore")
