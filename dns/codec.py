"""DNS packets from and to bytes, over dnslib. Called by the responder and the recursor.

dnslib's name decoder follows pointers recursively, lets names grow without bound and refuses labels that are not
UTF-8; its encoder writes wrong pointers past 16 KB. `_Buffer` mends these four. Of a query only the header, the
question and the OPT record are decoded: whatever else a packet carries is stepped over, so that no parser of ours runs on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dnslib
import msgspec
from dnslib.buffer import BufferError as ShortBuffer
from dnslib.label import DNSBuffer, DNSLabel

from chowk.dns import limits
from chowk.dns.answer import Answer, Entry
from chowk.dns.records import (
    FORMERR,
    LABEL_BYTES_MAX,
    NAME_BYTES_MAX,
    NOERROR,
    OPT,
    AddressRecord,
    AliasRecord,
    AuthorityRecord,
    Name,
    NameServerRecord,
    PointerRecord,
    ResourceRecord,
    ServiceRecord,
    TextRecord,
)

HEADER_BYTES = 12
REQUEST_BYTES_MAX = 4096
POINTERS_MAX = 16
OWN_UDP_BYTES = 1232  # what our OPT says that we take
_POINTER_OFFSET_MAX = 0x3FFF
_OPT_BYTES = 11


class Edns(msgspec.Struct, frozen=True):
    """The client's OPT record: its UDP size, version, DO bit, and whether it carries options (cookie, ECS, …)."""

    size: int
    version: int
    dnssec_ok: bool
    options: bool


class Query(msgspec.Struct, frozen=True):
    """A question as it came. `opcode` 0 is QUERY."""

    id: int
    opcode: int
    recursion_desired: bool
    checking_disabled: bool
    name: Name
    kind: int
    klass: int
    edns: Edns | None = None


class BadPacket(Exception):
    """A packet that asks nothing we can answer. `reply` is what to send back, b"" for nothing."""

    def __init__(self, text: str, reply: bytes) -> None:
        super().__init__(text)
        self.reply = reply


class _Offsets(dict[Name, int]):
    """Where names start: only places that 14 bits can point at are kept (RFC 1035 section 4.1.4)."""

    def __setitem__(self, name: Name, offset: int) -> None:
        if offset <= _POINTER_OFFSET_MAX:
            super().__setitem__(name, offset)


class _Buffer(DNSBuffer):  # type: ignore[misc]
    """dnslib's buffer with names bounded both ways; see the module's docstring."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.names: dict[Name, int] = _Offsets()

    def decode_name(self, _last: int = -1) -> DNSLabel:
        """The name at the offset. ShortBuffer when it is cut short, too long, or its pointers do not end."""
        labels: list[bytes] = []
        length, pointers, resume = 1, 0, -1
        while True:
            size = self.get(1)[0]
            if size == 0:
                break
            if size & 0xC0 == 0xC0:
                target = (size & 0x3F) << 8 | self.get(1)[0]
                resume = self.offset if resume < 0 else resume
                pointers += 1
                if target >= self.offset - 2 or pointers > POINTERS_MAX:
                    raise ShortBuffer("a compression pointer that leads nowhere")
                self.offset = target
                continue
            length += size + 1
            if size > LABEL_BYTES_MAX or length > NAME_BYTES_MAX:
                raise ShortBuffer("a label or name that is too long")
            labels.append(self.get(size))
        if resume >= 0:
            self.offset = resume
        return DNSLabel(labels)


def decode_query(packet: bytes) -> Query:
    """The query in `packet`. BadPacket for anything else: responses and stumps of a header get no reply."""
    if len(packet) < HEADER_BYTES:
        raise BadPacket("shorter than a header", b"")
    buffer = _Buffer(packet)
    header = dnslib.DNSHeader.parse(buffer)
    if header.qr:
        raise BadPacket("a response", b"")
    try:
        if len(packet) > REQUEST_BYTES_MAX or header.q != 1:
            raise ShortBuffer("too long, or not one question")
        question = dnslib.DNSQuestion.parse(buffer)
        edns = _decode_edns(buffer, header.a + header.auth, header.ar) if header.opcode == 0 else None
    except (dnslib.DNSError, ShortBuffer) as error:
        raise BadPacket(str(error), _bare_reply(header, FORMERR)) from error
    return Query(
        id=header.id,
        opcode=header.opcode,
        recursion_desired=bool(header.rd),
        checking_disabled=bool(header.cd),
        name=tuple(question.qname.label),
        kind=question.qtype,
        klass=question.qclass,
        edns=edns,
    )


def _decode_edns(buffer: _Buffer, before: int, additional: int) -> Edns | None:
    found = None
    for number in range(before + additional):
        name = buffer.decode_name()
        kind, klass, ttl, length = buffer.unpack("!HHIH")
        data = buffer.get(length)
        if kind != OPT:
            continue
        if found is not None or name.label or number < before:
            raise ShortBuffer("an OPT record where none may be")  # RFC 6891 section 6.1.1
        options = Edns(klass, (ttl >> 16) & 0xFF, bool(ttl & 0x8000), bool(data))
        _check_options(data)
        found = options
    return found


def _check_options(data: bytes) -> None:
    offset = 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise ShortBuffer("an EDNS option cut short")
        offset += 4 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    if offset != len(data):
        raise ShortBuffer("an EDNS option cut short")


def _bare_reply(header: dnslib.DNSHeader, rcode: int) -> bytes:
    reply = dnslib.DNSHeader(id=header.id, bitmap=0, qr=1, opcode=header.opcode, rd=header.rd, rcode=rcode)
    buffer = _Buffer()
    reply.pack(buffer)
    return bytes(buffer.data)


def encode_error(query: Query, rcode: int, *, recursion: bool) -> bytes:
    """A reply without records: the question, the OPT where one was asked with, and `rcode` (BADVERS included)."""
    return _encode(query, rcode, [], [], [], recursion=recursion, authoritative=False, truncated=False)


def encode_truncated(query: Query) -> bytes:
    """A reply that only says: ask again over TCP."""
    return _encode(query, NOERROR, [], [], [], recursion=True, authoritative=False, truncated=True)


def encode_answer(
    query: Query, answer: Answer, entries: Sequence[Entry], budget: limits.Budget, *, recursion: bool
) -> bytes:
    """The reply with as many of `entries`, in their order, as the budget allows; additional records go with theirs."""
    shown = entries[: budget.entries_max] if budget.entries_max > 0 else entries
    count = limits.fitting(_sizes(shown, query, answer), budget.bytes_max)
    count = max(0, count - 1)  # the first size is that of what every reply has
    kept = list(shown[:count])
    if count == 0 and shown:
        # Better the answer without its additional records than nothing.
        first = Entry(shown[0].answers)
        if limits.fitting(_sizes([first], query, answer), budget.bytes_max) == 2:
            kept = [first]
    truncated = budget.flag_truncation and len(kept) < len(entries)
    records = [record for entry in kept for record in entry.answers]
    additional = list(dict.fromkeys(record for entry in kept for record in entry.additional))
    return _encode(
        query, answer.rcode, records, answer.authority, additional, recursion=recursion, authoritative=True,
        truncated=truncated,
    )  # fmt: skip


def _sizes(entries: Sequence[Entry], query: Query, answer: Answer) -> Iterator[int]:
    """Bytes of a reply without entries, then those that each entry adds.

    Compression makes the sum independent of the order of records, so entries may be packed whole here although their
    records end in two sections.
    """
    buffer = _Buffer()
    buffer.append(bytes(HEADER_BYTES))
    _question(query).pack(buffer)
    for record in answer.authority:
        _resource(record).pack(buffer)
    yield len(buffer) + (_OPT_BYTES if query.edns is not None else 0)
    seen: set[ResourceRecord] = set()
    for entry in entries:
        start = len(buffer)
        for record in entry.answers:
            _resource(record).pack(buffer)
        for record in entry.additional:
            if record not in seen:
                seen.add(record)
                _resource(record).pack(buffer)
        yield len(buffer) - start


def _encode(
    query: Query,
    rcode: int,
    answers: Sequence[ResourceRecord],
    authority: Sequence[ResourceRecord],
    additional: Sequence[ResourceRecord],
    *,
    recursion: bool,
    authoritative: bool,
    truncated: bool,
) -> bytes:
    header = dnslib.DNSHeader(
        id=query.id, bitmap=0, qr=1, opcode=query.opcode, aa=authoritative, tc=truncated, rd=query.recursion_desired,
        ra=recursion, cd=query.checking_disabled, rcode=rcode & 0xF,
        q=1, a=len(answers), auth=len(authority), ar=len(additional) + (query.edns is not None),
    )  # fmt: skip
    buffer = _Buffer()
    header.pack(buffer)
    _question(query).pack(buffer)
    for record in (*answers, *authority, *additional):
        _resource(record).pack(buffer)
    if query.edns is not None:
        flags = "do" if query.edns.dnssec_ok else ""
        dnslib.EDNS0(flags=flags, udp_len=OWN_UDP_BYTES, ext_rcode=rcode >> 4).pack(buffer)
    return bytes(buffer.data)


def _question(query: Query) -> dnslib.DNSQuestion:
    return dnslib.DNSQuestion(DNSLabel(query.name), query.kind, query.klass)


def _resource(record: ResourceRecord) -> dnslib.RR:
    match record:
        case AddressRecord(packed=packed):
            kind, data = (1, dnslib.A(tuple(packed))) if len(packed) == 4 else (28, dnslib.AAAA(tuple(packed)))
        case ServiceRecord():
            target = DNSLabel(record.target)
            kind, data = 33, dnslib.SRV(record.priority, record.weight, record.port, target)
        case AliasRecord(target=target):
            kind, data = 5, dnslib.CNAME(DNSLabel(target))
        case PointerRecord(target=target):
            kind, data = 12, dnslib.PTR(DNSLabel(target))
        case NameServerRecord(target=target):
            kind, data = 2, dnslib.NS(DNSLabel(target))
        case TextRecord(strings=strings):
            kind, data = 16, dnslib.TXT(strings)
        case AuthorityRecord():
            times = (record.serial, record.refresh_s, record.retry_s, record.expire_s, record.min_ttl_s)
            kind, data = 6, dnslib.SOA(DNSLabel(record.primary), DNSLabel(record.mailbox), times)
    return dnslib.RR(DNSLabel(record.name), kind, 1, record.ttl_s, data)
