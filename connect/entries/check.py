"""The way into this room: everything that is wrong with an entry taken alone.

`complaints` for those who know where it was written, `check_entry` for the servers, which refuse. A clock (Unix seconds) is
given where times are to be judged.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from chowk.connect.entries import bypass, defaults, mesh, parts, resolver, router, splitter
from chowk.connect.entries.complaint import Complaint, Complaints, MapKey
from chowk.connect.intentions import validation
from chowk.core.errors import InvalidRequest
from chowk.core.records.bypass import ServiceBypass
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults, ServiceIntentions
from chowk.core.records.intention import ANY
from chowk.core.records.mesh import Mesh
from chowk.core.records.resolver import ServiceResolver
from chowk.core.records.router import ServiceRouter
from chowk.core.records.splitter import ServiceSplitter

COMPLAINTS_MAX: Final = 32
META_PAIRS_MAX: Final = 64
META_KEY_CHARS_MAX: Final = 128
META_VALUE_CHARS_MAX: Final = 512


def complaints(entry: AnyConfigEntry) -> Complaints:
    """What is wrong with any entry but intentions, whose rules (`connect.intentions.validation`) stop at the first."""
    if not entry.name:
        yield Complaint(("name",), "is required")
        return
    yield from _meta(entry)
    match entry:
        case ServiceDefaults():
            yield from _named(entry)
            yield from defaults.check_service(entry)
        case ProxyDefaults():
            yield from defaults.check_proxy(entry)
        case ServiceResolver():
            yield from _named(entry)
            yield from resolver.check(entry)
        case ServiceRouter():
            yield from _named(entry)
            yield from router.check(entry)
        case ServiceSplitter():
            yield from _named(entry)
            yield from splitter.check(entry)
        case Mesh():
            yield from mesh.check(entry)
        case ServiceBypass():
            yield from _named(entry)
            yield from bypass.check(entry)


def check_entry(entry: AnyConfigEntry) -> None:
    """InvalidRequest with all that is wrong with the entry, a line each, but for what needs a clock."""
    refuse(complaints(entry))
    if isinstance(entry, ServiceIntentions):
        validation.check_service_intentions(entry)


def refuse(found: Complaints) -> None:
    """InvalidRequest when there is any complaint; the first COMPLAINTS_MAX are told."""
    lines = [str(each) for each in islice(found, COMPLAINTS_MAX)]
    if lines:
        raise InvalidRequest("\n".join(lines))


def _named(entry: AnyConfigEntry) -> Complaints:
    yield from parts.service(entry.name, ("name",), any_too=True)
    if entry.name == ANY:
        hint = ": use proxy-defaults for all" if isinstance(entry, ServiceDefaults) else ""
        yield Complaint(("name",), f'{entry.kind} entries are of one service, not of "*"{hint}')


def _meta(entry: AnyConfigEntry) -> Complaints:
    if len(entry.meta) > META_PAIRS_MAX:
        yield Complaint(("meta",), f"exceeds maximum element count {META_PAIRS_MAX}")
        return
    for key, value in entry.meta.items():
        if not key or len(key) > META_KEY_CHARS_MAX:
            yield Complaint(("meta", MapKey(key)), f"a key must have 1 to {META_KEY_CHARS_MAX} characters")
        if len(value) > META_VALUE_CHARS_MAX:
            yield Complaint(("meta", MapKey(key)), f"is too long (limit: {META_VALUE_CHARS_MAX} characters)")
