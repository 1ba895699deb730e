"""Rules of faults: harm done on purpose, so that none is done by a slip.

A percentage is one of a hundred, and no higher than the entry's own `max_percent` (5 unless written): the typo that makes
100 of 0.1 is refused, and a real 100 is written twice, or by `-force`, which writes the second for its user. And every fault
ends by itself: `expires` is given, near, and nothing lifts that.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from chowk.connect.entries import parts
from chowk.connect.entries.complaint import Complaint, Complaints, Place, shown
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.router import Route, ServiceRouter
from chowk.core.records.traffic import Fault

EXPIRES_S_MAX: Final = 24 * 3600.0
DELAY_S_MAX: Final = 300.0
SLACK_S: Final = 60.0
"""Clocks of the two who judge a time may differ so much."""


def check(fault: Fault, place: Place) -> Complaints:
    """All rules but those of the time, which need a clock."""
    if fault.delay is None and fault.abort is None:
        yield Complaint(place, "give Delay, Abort, or both: what is to go wrong")
    yield from parts.percent(fault.max_percent, (*place, "max_percent"), positive=True)
    for name, part in (("delay", fault.delay), ("abort", fault.abort)):
        if part is not None:
            yield from _share(part.percent, fault.max_percent, (*place, name, "percent"))
    if fault.delay is not None:
        yield from parts.duration(
            fault.delay.duration, (*place, "delay", "duration"), 0.001, DELAY_S_MAX, required=True
        )
    if fault.abort is not None and not 400 <= fault.abort.status <= 599:
        yield Complaint((*place, "abort", "status"), f"{fault.abort.status} is no error: use 400 to 599")
    if not fault.expires:
        yield Complaint(
            (*place, "expires"),
            'is missing: every fault ends by itself, at most 24h from now; write a time like "2030-01-31T18:00:00Z"',
        )
    elif moment(fault.expires) is None:
        yield Complaint(
            (*place, "expires"), f'{shown(fault.expires)} is no time of RFC 3339, like "2030-01-31T18:00:00Z"'
        )


def _share(value: float, maximum: float, place: Place) -> Complaints:
    yield from parts.percent(value, place, positive=True)
    if maximum < value <= 100:
        yield Complaint(
            place,
            f"{value:g} percent is over max_percent, which is {maximum:g}: of 100 requests {value:g} would be harmed "
            f"(one in a thousand is 0.1). If that is meant, write max_percent = {value:g} too, or use -force",
        )


def check_times(entry: AnyConfigEntry, now: float) -> Complaints:
    """Faults that end later than they may at `now` (Unix seconds), or that have ended."""
    yield from check_far(entry, now)
    for fault, place in _faults(entry):
        ends = moment(fault.expires)
        if ends is not None and ends <= now - SLACK_S:
            yield Complaint(place, f"{fault.expires} is over: leave the fault out, or say how long it is to last now")


def check_far(entry: AnyConfigEntry, now: float) -> Complaints:
    """Faults that end later than they may. One of a file that is read at every start may well have ended."""
    for fault, place in _faults(entry):
        ends = moment(fault.expires)
        if ends is not None and ends > now + EXPIRES_S_MAX + SLACK_S:
            yield Complaint(place, f"{fault.expires} is more than 24h away: no fault may last longer")


def forced(entry: AnyConfigEntry) -> AnyConfigEntry:
    """The entry as `-force` writes it: `max_percent` of each fault is at least what the fault says."""
    if not isinstance(entry, ServiceRouter):
        return entry
    return msgspec.structs.replace(entry, routes=tuple(_forced(route) for route in entry.routes))


def _forced(route: Route) -> Route:
    fault = route.destination.fault if route.destination is not None else None
    if fault is None or route.destination is None:
        return route
    shares = [part.percent for part in (fault.delay, fault.abort) if part is not None and part.percent <= 100]
    fault = msgspec.structs.replace(fault, max_percent=max(fault.max_percent, *shares, 0.0))
    return msgspec.structs.replace(route, destination=msgspec.structs.replace(route.destination, fault=fault))


def _faults(entry: AnyConfigEntry) -> list[tuple[Fault, Place]]:
    if not isinstance(entry, ServiceRouter):
        return []
    return [
        (route.destination.fault, ("routes", number, "destination", "fault", "expires"))
        for number, route in enumerate(entry.routes)
        if route.destination is not None and route.destination.fault is not None
    ]


def moment(text: str) -> float | None:
    """Unix seconds of an RFC 3339 time, None when it is none (a zone must be said)."""
    if len(text) > 40 or len(text) < 20 or text[10] not in "T " or not text.isascii():
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC).timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
