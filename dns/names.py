"""What a name asks for: from the labels of a query to a typed question. A pure core, called by the responder.

Forms (CONTRACT.md, "DNS"), each under the domain or the alternative one, each with an optional datacenter label after
the kind: `<node>.node`, `[<tag>.]<service>.service` (dots may stand in the tag), `_<service>._<tag>[.service]`
(RFC 2782), `<service>.connect`, `<service>.virtual`, `<service>.ingress`, `<name>.query` or `_<name>._tcp.query`,
`<8 or 32 hex>.addr`; and the reverse names of RFC 1035 section 3.5 and RFC 3596 section 2.5.
"""

from __future__ import annotations

import ipaddress

import msgspec

from chowk.dns.records import Name, lower


class NodeSubject(msgspec.Struct, frozen=True):
    node: str


class ServiceSubject(msgspec.Struct, frozen=True):
    """Instances of `service`, with `tag` when it is not ""; `connect` asks for those that speak mTLS."""

    service: str
    tag: str = ""
    connect: bool = False


class VirtualSubject(msgspec.Struct, frozen=True):
    service: str


class IngressSubject(msgspec.Struct, frozen=True):
    service: str


class QuerySubject(msgspec.Struct, frozen=True):
    """A prepared query."""

    query: str


class AddressSubject(msgspec.Struct, frozen=True):
    """`packed` is the address, 4 or 16 bytes."""

    packed: bytes


class ApexSubject(msgspec.Struct, frozen=True):
    """The domain itself."""


class EmptySubject(msgspec.Struct, frozen=True):
    """A name with others below it and no records of its own, like `service.consul`.

    Resolvers that minimise names (RFC 9156) ask for these first, and take NXDOMAIN for all that is below (RFC 8020).
    """


class NoSubject(msgspec.Struct, frozen=True):
    """Of our domain, and no form that could exist."""


Subject = (
    NodeSubject
    | ServiceSubject
    | VirtualSubject
    | IngressSubject
    | QuerySubject
    | AddressSubject
    | ApexSubject
    | EmptySubject
    | NoSubject
)


class Question(msgspec.Struct, frozen=True):
    """`name` and `domain` (its end) are in the client's case; `datacenter` is "" where the name leaves it out."""

    name: Name
    domain: Name
    subject: Subject
    datacenter: str = ""


class ReverseQuestion(msgspec.Struct, frozen=True):
    """A PTR name; `address` in its usual text form."""

    name: Name
    address: str


class ForeignQuestion(msgspec.Struct, frozen=True):
    """Not of our domain: for the recursors."""

    name: Name


AnyQuestion = Question | ReverseQuestion | ForeignQuestion

_KINDS = frozenset((b"node", b"service", b"connect", b"virtual", b"ingress", b"query", b"addr"))


def parse_name(name: Name, domains: tuple[Name, ...]) -> AnyQuestion:
    """The question that `name` asks. `domains` are lower-case; the longest that ends the name counts."""
    lowered = lower(name)
    matches = [domain for domain in domains if lowered[len(lowered) - len(domain) :] == domain]
    if matches:
        cut = len(name) - len(max(matches, key=len))
        return _parse_own(name, lowered[:cut], name[cut:])
    address = _reverse_address(lowered)
    return ReverseQuestion(name, address) if address else ForeignQuestion(name)


def _parse_own(name: Name, labels: Name, domain: Name) -> Question:
    if not labels:
        return Question(name, domain, ApexSubject())
    # The kind is the right-most label that names one, so that a service may be called "service"; an RFC 2782 name may
    # leave the kind out, its right-most underscore then says where it ends.
    for position in range(len(labels) - 1, -1, -1):
        label = labels[position]
        if label in _KINDS:
            kind, parts, rest = label, labels[:position], labels[position + 1 :]
            break
        if label.startswith(b"_"):
            kind, parts, rest = b"service", labels[: position + 1], labels[position + 1 :]
            break
    else:
        subject = EmptySubject() if len(labels) == 1 else NoSubject()
        return Question(name, domain, subject, _text(labels[0]))
    if len(rest) > 1:
        return Question(name, domain, NoSubject())
    datacenter = _text(rest[0]) if rest else ""
    if not parts:
        return Question(name, domain, EmptySubject(), datacenter)
    return Question(name, domain, _subject(kind, parts), datacenter)


def _subject(kind: bytes, parts: Name) -> Subject:
    last = _text(parts[-1])
    match kind:
        case b"node":
            return NodeSubject(".".join(map(_text, parts)))
        case b"service":
            return _service_subject(parts)
        case b"connect":
            return ServiceSubject(last, connect=True)
        case b"virtual":
            return VirtualSubject(last)
        case b"ingress":
            return IngressSubject(last)
        case b"query":
            return _query_subject(parts)
        case _:
            return _address_subject(parts)


def _service_subject(parts: Name) -> Subject:
    if len(parts) == 1 and parts[0].startswith(b"_"):
        return EmptySubject()
    if len(parts) == 2 and parts[0].startswith(b"_") and parts[1].startswith(b"_"):
        tag = _text(parts[1][1:])
        return ServiceSubject(_text(parts[0][1:]), "" if tag == "tcp" else tag)
    return ServiceSubject(_text(parts[-1]), ".".join(map(_text, parts[:-1])))


def _query_subject(parts: Name) -> Subject:
    """A name, which may have dots; also as RFC 2782 writes it: `_<name>._tcp`."""
    if len(parts) == 2 and parts[0].startswith(b"_") and parts[1] == b"_tcp":
        return QuerySubject(_text(parts[0][1:]))
    return QuerySubject(".".join(map(_text, parts)))


def _address_subject(parts: Name) -> Subject:
    if len(parts) != 1 or len(parts[0]) not in (8, 32):
        return NoSubject()
    try:
        return AddressSubject(bytes.fromhex(parts[0].decode("ascii")))
    except ValueError:
        return NoSubject()


def _reverse_address(labels: Name) -> str:
    if labels[-2:] == (b"in-addr", b"arpa") and len(labels) == 6:
        text = b".".join(reversed(labels[:4]))
    elif labels[-2:] == (b"ip6", b"arpa") and len(labels) == 34 and all(len(label) == 1 for label in labels[:32]):
        digits = b"".join(reversed(labels[:32]))
        text = b":".join(digits[start : start + 4] for start in range(0, 32, 4))
    else:
        return ""
    try:
        return str(ipaddress.ip_address(text.decode("ascii")))
    except ValueError:
        return ""


def _text(label: bytes) -> str:
    # Catalog names are UTF-8 text; a label that is not names nothing, and need not be told apart from others.
    return label.decode("utf-8", "replace")
