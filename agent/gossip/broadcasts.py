"""What is waiting to be passed on: each broadcast rides on packets that go out anyway, so many times (SWIM 4.1)."""

from __future__ import annotations

from typing import Final

MAX_BROADCASTS: Final = 32_768
"""Twice the members there may be; when full, what was sent most often goes first."""

MAX_SKIPPED: Final = 8
"""How many that do not fit are passed over while a packet is filled."""


class BroadcastQueue:
    """Encoded messages by `key`; a newer one of a key replaces the older. The least sent go first, of those the newest."""

    def __init__(self) -> None:
        self._levels: list[dict[str, bytes]] = []
        self._level_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._level_of)

    def add(self, key: str, part: bytes) -> None:
        """Pass `part` on from now on."""
        self.remove(key)
        if len(self._level_of) >= MAX_BROADCASTS:
            last = next(level for level in reversed(self._levels) if level)
            self.remove(next(iter(last)))
        self._put(key, part, 0)

    def remove(self, key: str) -> None:
        """No more of it."""
        level = self._level_of.pop(key, None)
        if level is not None:
            del self._levels[level][key]

    def clear(self) -> None:
        """Nobody is there to be told."""
        self._levels.clear()
        self._level_of.clear()

    def take(self, room: int, limit: int) -> list[bytes]:
        """Parts of at most `room` bytes together, counted as sent once more; one that was sent `limit` times is done."""
        if not self._level_of:
            return []
        taken: list[tuple[str, bytes, int]] = []
        skipped = 0
        for number, level in enumerate(self._levels):
            for key in reversed(level):
                part = level[key]
                if len(part) <= room:
                    taken.append((key, part, number))
                    room -= len(part)
                else:
                    skipped += 1
                if skipped >= MAX_SKIPPED:
                    break
            if skipped >= MAX_SKIPPED:
                break
        for key, part, number in taken:
            self.remove(key)
            if number + 1 < limit:
                self._put(key, part, number + 1)
        return [part for _, part, _ in taken]

    def _put(self, key: str, part: bytes, level: int) -> None:
        while len(self._levels) <= level:
            self._levels.append({})
        self._levels[level][key] = part
        self._level_of[key] = level
