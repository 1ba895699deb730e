"""Rules of service-splitter entries."""

from __future__ import annotations

import math
from typing import Final

from chowk.connect.entries import parts
from chowk.connect.entries.complaint import Complaint, Complaints, shown
from chowk.connect.http1.edits import fault_of
from chowk.core.records.splitter import ServiceSplitter, Split, Sticky

SPLITS_MAX: Final = 256
SUM_TOLERANCE: Final = 0.01
"""Thirds are written 33.33, 33.33 and 33.34, or the last as 33.33 too."""


def check(entry: ServiceSplitter) -> Complaints:
    """All rules of the kind."""
    if not entry.splits:
        yield Complaint(("splits",), "no splits configured: give at least one, with its weight")
    if len(entry.splits) > SPLITS_MAX:
        yield Complaint(("splits",), f"at most {SPLITS_MAX} splits")
        return
    seen: dict[tuple[str, str], int] = {}
    for number, split in enumerate(entry.splits):
        yield from _split(split, number)
        destination = (split.service or entry.name, split.service_subset)
        if destination in seen:
            yield Complaint(
                ("splits", number), f"goes where Splits[{seen[destination]}] goes: add up the weights in one of them"
            )
        seen.setdefault(destination, number)
    total = math.fsum(split.weight for split in entry.splits)
    if entry.splits and not abs(total - 100) <= SUM_TOLERANCE + 1e-9:
        weights = " + ".join(f"{split.weight:g}" for split in entry.splits[:8]) + (" + …" * (len(entry.splits) > 8))
        yield Complaint(("splits",), f"the sum of all split weights must be 100, not {total:g} ({weights})")
    if entry.sticky is not None:
        yield from _sticky(entry.sticky)


def _split(split: Split, number: int) -> Complaints:
    place = ("splits", number)
    yield from parts.service(split.service, (*place, "service"))
    yield from parts.header_edits(split.request_headers, (*place, "request_headers"))
    yield from parts.header_edits(split.response_headers, (*place, "response_headers"))
    if not (math.isfinite(split.weight) and 0 <= split.weight <= 100):
        yield Complaint((*place, "weight"), f"{split.weight:g} is no percentage (0 to 100)")
    elif abs(split.weight * 100 - round(split.weight * 100)) > 1e-6:
        yield Complaint((*place, "weight"), f"{split.weight!r} is finer than 0.01, the smallest share there is")


def _sticky(sticky: Sticky) -> Complaints:
    if bool(sticky.header) == bool(sticky.cookie):
        yield Complaint(("sticky",), f"give Header or Cookie, {'not both' if sticky.header else 'one of them'}")
    if sticky.header:
        yield from parts.header_name(sticky.header, ("sticky", "header"))
        if sticky.ttl:
            yield Complaint(("sticky", "ttl"), "is of a Cookie: a header's value lasts as long as callers send it")
    if sticky.cookie and (not sticky.cookie.isascii() or fault_of(sticky.cookie) == "is no header name"):
        yield Complaint(("sticky", "cookie"), f"{shown(sticky.cookie)} is no name of a cookie")
    yield from parts.duration(sticky.ttl, ("sticky", "ttl"), maximum_s=365 * 24 * 3600.0)
