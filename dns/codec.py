"""DNS packets from bytes (dnslib) and to bytes (`packer`). Called by the responder and the recursor.

dnslib's name decoder follows pointers recursively, lets names grow without bound and refuses labels that are not
UTF-8. `_Buffer` mends these three. Of a query only the header, the
question and the OPT record are decoded; whatever else a packet carries is stepped over and meets no parser of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dnslib
import msgspec
from dnslib.buffer import BufferError as ShortBuffer
from dnslib.label import DNSBuffer, DNSLabel

from chowk.dns import limits
from chowk.dns.answer import Answer, Entry
from chowk.dns.packer import HEADER, OPT_BYTES, Packer
from chowk.dns.records import (
    CLASS_IN,
    CNAME,
    FORMERR,
    LABEL_BYTES_MAX,
    NAME_BYTES_MAX,
    NOERROR,
    OPT,
    A,
    AddressRecord,
    AliasRecord,
    Name,
    ResourceRecord,
    lower,
)

HEADER_BYTES = 12
REQUEST_BYTES_MAX = 4096
POINTERS_MAX = 16
ALIAS_RECORDS_MAX = 64
OWN_UDP_BYTES = 1232  # what our OPT says that we take
_FEW = 16  # so many entries are packed before they are measured: mostly they fit
_QR, _OPCODE, _AA, _TC, _RD, _RA, _CD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010


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


class BadPacket(ValueError):
    """A packet that asks nothing we can answer. `reply` is what to send back, b"" for nothing."""

    def __init__(self, text: str, reply: bytes) -> None:
        super().__init__(text)
        self.reply = reply


class _Buffer(DNSBuffer):  # type: ignore[misc]
    """dnslib's buffer with bounded names; see the module's docstring."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.offset: int = 0

    def decode_name(self, _last: int = -1) -> DNSLabel:
        """Called by dnslib."""
        return DNSLabel(self.labels())

    def labels(self) -> Name:
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
        return tuple(labels)


def decode_query(packet: bytes) -> Query:
    """The query in `packet`. BadPacket for anything else: responses and stumps of a header get no reply."""
    if len(packet) < HEADER_BYTES:
        raise BadPacket("shorter than a header", b"")
    number, flags, questions, answers, authority, additional = HEADER.unpack_from(packet)
    if flags & _QR:
        raise BadPacket("a response", b"")
    buffer = _Buffer(packet)
    buffer.offset = HEADER_BYTES
    opcode = flags >> 11 & 0xF
    try:
        if len(packet) > REQUEST_BYTES_MAX or questions != 1:
            raise ShortBuffer("too long, or not one question")
        name = buffer.labels()
        kind, klass = buffer.unpack("!HH")
        edns = _decode_edns(buffer, answers + authority, additional) if opcode == 0 else None
    except ShortBuffer as error:
        bare = HEADER.pack(number, _QR | flags & (_OPCODE | _RD) | FORMERR, 0, 0, 0, 0)
        raise BadPacket(str(error), bare) from error
    return Query(
        id=number,
        opcode=opcode,
        recursion_desired=bool(flags & _RD),
        checking_disabled=bool(flags & _CD),
        name=name,
        kind=kind,
        klass=klass,
        edns=edns,
    )


def _decode_edns(buffer: _Buffer, before: int, additional: int) -> Edns | None:
    found = None
    for number in range(before + additional):
        name = buffer.labels()
        kind, klass, ttl, length = buffer.unpack("!HHIH")
        data = buffer.get(length)
        if kind != OPT:
            continue
        if found is not None or name or number < before:
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


def encode_error(query: Query, rcode: int, *, recursion: bool) -> bytes:
    """A reply without records: the question, the OPT where one was asked with, and `rcode` (BADVERS included)."""
    return _encode(query, rcode, [], [], [], recursion=recursion, authoritative=False, truncated=False)


def encode_truncated(query: Query) -> bytes:
    """A reply that only says: ask again over TCP. For a recursor's reply that is too large for the client."""
    return _encode(query, NOERROR, [], [], [], recursion=True, authoritative=False, truncated=True)


def encode_answer(
    query: Query, answer: Answer, entries: Sequence[Entry], budget: limits.Budget, *, recursion: bool
) -> bytes:
    """The reply with as many of `entries`, in their order, as the budget allows; additional records go with theirs."""
    shown = entries[: budget.entries_max] if budget.entries_max > 0 else entries

    def pack(kept: Sequence[Entry]) -> bytes:
        return _encode(
            query,
            answer.rcode,
            [record for entry in kept for record in entry.answers],
            answer.authority,
            list(dict.fromkeys(record for entry in kept for record in entry.additional)),
            recursion=recursion,
            authoritative=True,
            truncated=budget.flag_truncation and len(kept) < len(entries) + answer.left_out,
        )

    if len(shown) <= _FEW and len(packet := pack(shown)) <= budget.bytes_max:
        return packet
    count = limits.fitting(_sizes(shown, query, answer), budget.bytes_max)
    count = max(0, count - 1)  # the first size is that of what every reply has
    kept = list(shown[:count])
    if count == 0 and shown:
        # Better the answer without its additional records than nothing.
        first = Entry(shown[0].answers)
        if limits.fitting(_sizes([first], query, answer), budget.bytes_max) == 2:
            kept = [first]
    while True:
        packet = pack(kept)
        if len(packet) <= budget.bytes_max or not kept:
            return packet
        # Past 16 KB names cannot be pointed at, and sizes may come out larger than they were told.
        kept = kept[: (len(kept) - 1) * budget.bytes_max // len(packet)]


def slip(packet: bytes, reply: bytes) -> bytes:
    """A `reply` to `packet` cut to its question, with TC: for a client that is over its rate limit."""
    with_edns = packet[10:12] != b"\0\0" and reply[10:12] != b"\0\0"
    flags = bytes((reply[2] | _TC >> 8, reply[3]))
    counts = b"\0\1\0\0\0\0" + with_edns.to_bytes(2, "big")
    if reply[4:6] != b"\0\1":
        return reply[:2] + flags + bytes(8)
    options = b"\0" + OPT.to_bytes(2, "big") + OWN_UDP_BYTES.to_bytes(2, "big") + bytes(6) if with_edns else b""
    return reply[:2] + flags + counts + reply[HEADER_BYTES : _name_end(reply) + 4] + options


def encode_query(query: Query, number: int, size: int) -> bytes:
    """A question of our own to a recursor: the client's name, type and flags; EDNS, without its options, if it used that."""
    header = dnslib.DNSHeader(
        id=number, bitmap=0, rd=query.recursion_desired, cd=query.checking_disabled, q=1, ar=query.edns is not None
    )
    buffer = _Buffer()
    header.pack(buffer)
    _question(query).pack(buffer)
    if query.edns is not None:
        dnslib.EDNS0(flags="do" if query.edns.dnssec_ok else "", udp_len=size).pack(buffer)
    return bytes(buffer.data)


def is_reply_to(packet: bytes, question: bytes) -> bool:
    """Does `packet` answer our `question`: same id, a response to a plain query, the same name, type and class?"""
    if len(packet) < HEADER_BYTES or packet[:2] != question[:2] or packet[2] & 0xF8 != 0x80 or packet[4:6] != b"\0\1":
        return False
    end = _name_end(question)
    name, tail = slice(HEADER_BYTES, end), slice(end, end + 4)
    return packet[name].lower() == question[name].lower() and packet[tail] == question[tail]


def is_truncated(packet: bytes) -> bool:
    """The TC bit of a packet that `is_reply_to` accepted."""
    return bool(packet[2] & 0x02)


def rcode_of(packet: bytes) -> int:
    """The rcode of a packet that `is_reply_to` accepted."""
    return packet[3] & 0x0F


def decode_addresses(packet: bytes, name: Name, kind: int) -> list[AddressRecord | AliasRecord]:
    """The A or AAAA records that `name` leads to in a recursor's reply, through its aliases; [] when it is malformed."""
    buffer = _Buffer(packet)
    chain = {lower(name)}
    found: list[AddressRecord | AliasRecord] = []
    try:
        header = dnslib.DNSHeader.parse(buffer)
        dnslib.DNSQuestion.parse(buffer)
        for _ in range(min(header.a, ALIAS_RECORDS_MAX)):
            owner = buffer.labels()
            record_kind, klass, ttl_s, length = buffer.unpack("!HHIH")
            start = buffer.offset
            data = buffer.get(length)
            if klass != CLASS_IN or lower(owner) not in chain:
                continue
            if record_kind == CNAME:
                buffer.offset = start
                target = buffer.labels()
                buffer.offset = start + length
                chain.add(lower(target))
                found.append(AliasRecord(owner, ttl_s, target))
            elif record_kind == kind and length == (4 if kind == A else 16):
                found.append(AddressRecord(owner, ttl_s, data))
    except (dnslib.DNSError, ShortBuffer):
        return []
    return found


def _name_end(question: bytes) -> int:
    offset = HEADER_BYTES
    while question[offset]:
        offset += question[offset] + 1
    return offset + 1


def _sizes(entries: Sequence[Entry], query: Query, answer: Answer) -> Iterator[int]:
    """Bytes of a reply without entries, then those that each entry adds.

    Compression makes the sum independent of the order of records, so entries may be packed whole here although their
    records end in two sections. (Up to 16 KB; after that it is a good guess.)
    """
    packer = Packer(0, 0, (0, 0, 0, 0))
    packer.question(query.name, query.kind, query.klass)
    packer.records(answer.authority)
    yield len(packer.data) + (OPT_BYTES if query.edns is not None else 0)
    seen: set[ResourceRecord] = set()
    for entry in entries:
        start = len(packer.data)
        packer.records(entry.answers)
        packer.records(record for record in entry.additional if record not in seen)
        seen.update(entry.additional)
        yield len(packer.data) - start


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
    flags = (
        _QR | query.opcode << 11 | _AA * authoritative | _TC * truncated | _RD * query.recursion_desired
        | _RA * recursion | _CD * query.checking_disabled | rcode & 0xF
    )  # fmt: skip
    counts = (1, len(answers), len(authority), len(additional) + (query.edns is not None))
    packer = Packer(query.id, flags, counts)
    packer.question(query.name, query.kind, query.klass)
    packer.records(answers)
    packer.records(authority)
    packer.records(additional)
    if query.edns is not None:
        packer.options(OWN_UDP_BYTES, extended_rcode=rcode >> 4, dnssec_ok=query.edns.dnssec_ok)
    return bytes(packer.data)


def _question(query: Query) -> dnslib.DNSQuestion:
    return dnslib.DNSQuestion(DNSLabel(query.name), query.kind, query.klass)
