"""Records to bytes, with names compressed (RFC 1035 section 4.1.4). Called by `codec`, for replies.

Written out because this is what a reply's time goes into: dnslib's encoder takes 30 times as long, and writes pointers
past the 16 KB that they can point into.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from chowk.dns.records import (
    AAAA,
    CLASS_IN,
    CNAME,
    NS,
    OPT,
    PTR,
    SOA,
    SRV,
    TXT,
    A,
    AddressRecord,
    AliasRecord,
    AuthorityRecord,
    Name,
    NameServerRecord,
    PointerRecord,
    ResourceRecord,
    ServiceRecord,
)

OPT_BYTES = 11
_POINTER_OFFSET_MAX = 0x3FFF
HEADER = Struct("!HHHHHH")
_QUESTION = Struct("!HH")
_RECORD = Struct("!HHIH")
_SERVICE = Struct("!HHH")
_TIMES = Struct("!IIIII")
_POINTER = Struct("!H")
_DO_BIT = 0x8000


class Packer:
    """A message under construction: `data` are its bytes so far."""

    def __init__(self, number: int, flags: int, counts: tuple[int, int, int, int]) -> None:
        self.data = bytearray(HEADER.pack(number, flags, *counts))
        self._offsets: dict[Name, int] = {}

    def question(self, name: Name, kind: int, klass: int) -> None:
        """Add a question."""
        self._name(name)
        self.data += _QUESTION.pack(kind, klass)

    def records(self, records: Iterable[ResourceRecord]) -> None:
        """Add records of class IN."""
        for record in records:
            self._record(record)

    def options(self, size: int, *, extended_rcode: int, dnssec_ok: bool) -> None:
        """Add an OPT record without options (RFC 6891 section 6.1)."""
        ttl = extended_rcode << 24 | (_DO_BIT if dnssec_ok else 0)
        self.data += b"\0" + _RECORD.pack(OPT, size, ttl, 0)

    def _record(self, record: ResourceRecord) -> None:
        data = self.data
        self._name(record.name)
        if isinstance(record, AddressRecord):
            kind = A if len(record.packed) == 4 else AAAA
            data += _RECORD.pack(kind, CLASS_IN, record.ttl_s, len(record.packed)) + record.packed
            return
        data += _RECORD.pack(_kind(record), CLASS_IN, record.ttl_s, 0)
        start = len(data)
        if isinstance(record, ServiceRecord):
            data += _SERVICE.pack(record.priority, record.weight, record.port)
            self._name(record.target)
        elif isinstance(record, AliasRecord | PointerRecord | NameServerRecord):
            self._name(record.target)
        elif isinstance(record, AuthorityRecord):
            self._name(record.primary)
            self._name(record.mailbox)
            times = (record.refresh_s, record.retry_s, record.expire_s, record.min_ttl_s)
            data += _TIMES.pack(record.serial, *times)
        else:
            for text in record.strings:
                data.append(len(text))
                data += text
        _POINTER.pack_into(data, start - 2, len(data) - start)

    def _name(self, name: Name) -> None:
        offsets, data = self._offsets, self.data
        rest = name
        while rest:
            known = offsets.get(rest)
            if known is not None:
                data += _POINTER.pack(0xC000 | known)
                return
            if len(data) <= _POINTER_OFFSET_MAX:
                offsets[rest] = len(data)
            label = rest[0]
            data.append(len(label))
            data += label
            rest = rest[1:]
        data.append(0)


def _kind(record: ResourceRecord) -> int:
    if isinstance(record, ServiceRecord):
        return SRV
    if isinstance(record, AliasRecord):
        return CNAME
    if isinstance(record, PointerRecord):
        return PTR
    if isinstance(record, NameServerRecord):
        return NS
    return SOA if isinstance(record, AuthorityRecord) else TXT
