"""Which writes were applied: a retry of one gets the first result again and changes nothing.

Bounds: `CLIENTS_MAX` clients, the one unheard for longest goes first; `WINDOW` results a client. A retry from before the
window cannot be told from a new write, so it is refused rather than applied twice. Called by `server.state.machine`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chowk.core.commands import Applied

CLIENTS_MAX: Final = 4096
WINDOW: Final = 128


class Forgotten:
    """The answer to a retry that is too old to know."""


FORGOTTEN: Final = Forgotten()


class Sessions:
    """Results by client and sequence; a sequence grows by one a write, though writes may arrive in another order."""

    def __init__(self) -> None:
        self._results: dict[str, dict[int, tuple[int, bool]]] = {}
        self._highest: dict[str, int] = {}

    def recall(self, client: str, sequence: int) -> Applied | Forgotten | None:
        """The result this write had, FORGOTTEN, or None when it is new. Client "" keeps no session."""
        results = self._results.get(client)
        if not client or results is None:
            return None
        known = results.get(sequence)
        if known is not None:
            return Applied(index=known[0], ok=known[1])
        return FORGOTTEN if sequence <= self._highest[client] - WINDOW else None

    def remember(self, client: str, sequence: int, result: Applied) -> None:
        """Keep the result of a write, and drop what is over the bounds."""
        if not client:
            return
        results = self._results.pop(client, {})
        results[sequence] = (result.index, result.ok)
        self._highest[client] = highest = max(sequence, self._highest.get(client, sequence))
        if len(results) > WINDOW:
            floor = highest - WINDOW
            results.pop(floor, None)  # what falls out when writes come in order
            for old in [each for each in results if each <= floor] if len(results) > WINDOW else ():
                del results[old]
        self._results[client] = results
        if len(self._results) > CLIENTS_MAX:
            oldest = next(iter(self._results))
            del self._results[oldest], self._highest[oldest]

    def rows(self) -> list[tuple[str, int, int, bool]]:
        """For a snapshot: (client, sequence, index, ok), the client unheard for longest first."""
        return [
            (client, sequence, index, ok)
            for client, results in self._results.items()
            for sequence, (index, ok) in results.items()
        ]

    def load(self, rows: Iterable[tuple[str, int, int, bool]]) -> None:
        """Take the rows of a snapshot."""
        for client, sequence, index, ok in rows:
            self._results.setdefault(client, {})[sequence] = (index, ok)
            self._highest[client] = max(sequence, self._highest.get(client, sequence))
