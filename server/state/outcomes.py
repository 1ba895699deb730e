"""What the last transactions ended in, so that one that is sent again gets its answer again. Part of `Store`.

`sessions` knows of every write whether it was applied; only of transactions is there more to tell. That is kept in bounds:
OUTCOMES_MAX of them, BYTES_MAX together, the oldest goes first. Each server has the same, also after a restart, for
whichever leads next may be asked. Written by `machine` and the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from chowk.core import codec
from chowk.core.commands import Applied
from chowk.core.records.operation import Outcome

OUTCOMES_MAX: Final = 1024
BYTES_MAX: Final = 8 * 1024 * 1024
OUTCOME_BYTES_MAX: Final = 1024 * 1024
"""A larger one is not kept: it is one that read much, and nearly always arrives."""


class Outcomes:
    """(client, sequence) -> an outcome, packed; in the order they were applied."""

    def __init__(self) -> None:
        self._packed: dict[tuple[str, int], bytes] = {}
        self._bytes = 0

    def recall(self, client: str, sequence: int, known: Applied) -> Applied:
        """`known`, with the outcome where there is one."""
        packed = self._packed.get((client, sequence))
        return known if packed is None else msgspec.structs.replace(known, value=codec.unpack(packed, Outcome))

    def remember(self, client: str, sequence: int, outcome: Outcome) -> None:
        """Keep an outcome, and drop what is over the bounds. Client "" sends nothing again."""
        if client:
            self._keep((client, sequence), codec.pack(outcome))

    def rows(self) -> list[tuple[str, int, bytes]]:
        """For a snapshot, in order."""
        return [(client, sequence, packed) for (client, sequence), packed in self._packed.items()]

    def load(self, rows: Iterable[tuple[str, int, bytes]]) -> None:
        """Take the rows of a snapshot."""
        for client, sequence, packed in rows:
            self._keep((client, sequence), packed)

    def _keep(self, key: tuple[str, int], packed: bytes) -> None:
        if len(packed) > OUTCOME_BYTES_MAX:
            return
        self._bytes += len(packed) - len(self._packed.pop(key, b""))
        self._packed[key] = packed
        while len(self._packed) > OUTCOMES_MAX or self._bytes > BYTES_MAX:
            self._bytes -= len(self._packed.pop(next(iter(self._packed))))
