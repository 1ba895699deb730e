"""Rules that need a clock: what must end by itself ends soon, and has not ended yet. Called where entries are written."""

from __future__ import annotations

from chowk.connect.entries import bypass, faults
from chowk.connect.entries.complaint import Complaints
from chowk.core.records.bypass import ServiceBypass
from chowk.core.records.config_entry import AnyConfigEntry


def check_times(entry: AnyConfigEntry, now: float) -> Complaints:
    """What ends later than it may at `now` (Unix seconds), or has ended."""
    yield from bypass.check_times(entry, now) if isinstance(entry, ServiceBypass) else faults.check_times(entry, now)


def check_far(entry: AnyConfigEntry, now: float) -> Complaints:
    """What ends later than it may. What is read from a file at every start may well have ended."""
    yield from bypass.check_far(entry, now) if isinstance(entry, ServiceBypass) else faults.check_far(entry, now)
