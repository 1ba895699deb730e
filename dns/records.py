"""Names and resource records as the answering core thinks of them; `codec` turns them into bytes.

A name is a tuple of labels as raw bytes, without the root: any byte may stand in a label, and the client's case is kept.
"""

from __future__ import annotations

import msgspec

Name = tuple[bytes, ...]

LABEL_BYTES_MAX = 63  # RFC 1035 section 2.3.4
NAME_BYTES_MAX = 255

# Types (RFC 1035, 3596, 2782, 1995, 8482) and classes.
A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, IXFR, AXFR, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 251, 252, 255
CLASS_IN, CLASS_ANY = 1, 255

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16


class AddressRecord(msgspec.Struct, frozen=True):
    """A or AAAA, by the length of `packed`: 4 or 16 bytes."""

    name: Name
    ttl_s: int
    packed: bytes


class AliasRecord(msgspec.Struct, frozen=True):
    """CNAME."""

    name: Name
    ttl_s: int
    target: Name


class PointerRecord(msgspec.Struct, frozen=True):
    """PTR."""

    name: Name
    ttl_s: int
    target: Name


class NameServerRecord(msgspec.Struct, frozen=True):
    """NS."""

    name: Name
    ttl_s: int
    target: Name


class ServiceRecord(msgspec.Struct, frozen=True):
    """SRV (RFC 2782)."""

    name: Name
    ttl_s: int
    priority: int
    weight: int
    port: int
    target: Name


class TextRecord(msgspec.Struct, frozen=True):
    """TXT: strings of at most 255 bytes each."""

    name: Name
    ttl_s: int
    strings: tuple[bytes, ...]


class AuthorityRecord(msgspec.Struct, frozen=True):
    """SOA; times in seconds."""

    name: Name
    ttl_s: int
    primary: Name
    mailbox: Name
    serial: int
    refresh_s: int
    retry_s: int
    expire_s: int
    min_ttl_s: int


ResourceRecord = (
    AddressRecord | AliasRecord | PointerRecord | NameServerRecord | ServiceRecord | TextRecord | AuthorityRecord
)


def name_of(text: str) -> Name:
    """The labels of a dotted name; () when it cannot be one (an empty or too long label, or too long altogether)."""
    try:
        labels = tuple(part.encode() for part in text.rstrip(".").split("."))
    except UnicodeEncodeError:
        return ()
    return labels if fits(labels) else ()


def fits(name: Name) -> bool:
    """Can this name stand in a packet? (RFC 1035: labels of 1 to 63 bytes, 255 bytes in all.)"""
    return all(0 < len(label) <= LABEL_BYTES_MAX for label in name) and wire_length(name) <= NAME_BYTES_MAX


def wire_length(name: Name) -> int:
    """Bytes of the name without compression."""
    return sum(map(len, name)) + len(name) + 1


def lower(name: Name) -> Name:
    """The name for comparing: DNS ignores the case of ASCII letters only (RFC 4343), and so does `bytes.lower`."""
    return tuple(label.lower() for label in name)
