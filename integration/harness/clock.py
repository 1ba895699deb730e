"""A wall clock that a test sets, for real processes: libfaketime moves the time of day and leaves the monotonic clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


class WallClock:
    """All processes started with `prefix` read it, as do their children. It runs on from wherever it is set."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            raise RuntimeError("libfaketime is missing: install the Debian package faketime")
        self._file = folder / "clock"
        self.set(timedelta())

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command runs under."""
        return (
            "env",
            f"LD_PRELOAD={LIBRARIES[0]}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "DONT_FAKE_MONOTONIC=1",
        )

    def set(self, ahead: timedelta) -> None:
        """It is so far ahead of the real time, in every process, at once."""
        aside = self._file.with_suffix(".new")
        aside.write_text(f"+{ahead.total_seconds():.0f}s\n")
        aside.replace(self._file)
