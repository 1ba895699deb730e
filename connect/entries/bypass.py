"""Rules of bypasses: what lets in whoever is denied says why, who did it, and ends soon."""

from __future__ import annotations

from typing import Final

from chowk.connect.entries.complaint import Complaint, Complaints, shown
from chowk.connect.entries.faults import SLACK_S, moment
from chowk.core.records.bypass import ServiceBypass

LASTS_S_MAX: Final = 24 * 3600.0
TEXT_CHARACTERS_MAX: Final = 512


def check(entry: ServiceBypass) -> Complaints:
    """All rules but that of the time, which needs a clock."""
    if not entry.expires:
        yield Complaint(("expires",), 'is missing: every bypass lapses; write a time like "2030-01-31T18:00:00Z"')
    elif moment(entry.expires) is None:
        yield Complaint(("expires",), f'{shown(entry.expires)} is no time of RFC 3339, like "2030-01-31T18:00:00Z"')
    if not entry.reason.strip():
        yield Complaint(("reason",), "is missing: say why, for those who ask later")
    for name in ("reason", "by"):
        if len(getattr(entry, name)) > TEXT_CHARACTERS_MAX:
            yield Complaint((name,), f"is too long (limit: {TEXT_CHARACTERS_MAX} characters)")


def check_far(entry: ServiceBypass, now: float) -> Complaints:
    """One that lasts longer than it may."""
    ends = moment(entry.expires)
    if ends is not None and ends > now + LASTS_S_MAX + SLACK_S:
        yield Complaint(("expires",), f"{entry.expires} is more than 24h away: no bypass may last longer")


def check_times(entry: ServiceBypass, now: float) -> Complaints:
    """One that lasts longer than it may, or is over."""
    yield from check_far(entry, now)
    ends = moment(entry.expires)
    if ends is not None and ends <= now - SLACK_S:
        yield Complaint(("expires",), f"{entry.expires} is over: say how long it is to last now")
