"""The answer to a question of ours: records by the registry's state. A pure core over `lookup`, called by the responder.

Rules (CONTRACT.md, "DNS"): no instance or unknown datacenter is NXDOMAIN, a name without records of the asked type
NOERROR, both with the SOA; what the lookup cannot tell even after a fetch is SERVFAIL. Critical instances and those in
maintenance are never shown, warning ones unless `only_passing`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from chowk.core.durations import parse_duration
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import NEAR_AGENT, PreparedQuery
from chowk.dns import limits, names
from chowk.dns.lookup import Lookup
from chowk.dns.records import (
    AAAA,
    ANY,
    AXFR,
    IXFR,
    NOERROR,
    NOTIMP,
    NS,
    NXDOMAIN,
    SERVFAIL,
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
    TextRecord,
    fits,
    name_of,
)
from chowk.dns.roster import Rosters, Row, Shown, is_of_kind, pack_address
from chowk.dns.settings import Zone, node_ttl, service_ttl, whole_ttl

SRV_PRIORITY = 1
_RFC1035_PREFIX = "rfc1035-"
_TEXT_BYTES_MAX = 255


class Entry(msgspec.Struct, frozen=True):
    """What one instance adds: its answer records, and the additional ones that are pointless without them."""

    answers: tuple[ResourceRecord, ...]
    additional: tuple[ResourceRecord, ...] = ()
    weight: int = 1


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`entries` are in no order yet (`order`, `limits`), unless `in_order`; `limit` is how many may be shown, 0 for all.

    `sources` are the (kind, key) of the lookup that the answer rests on. `left_out` is how many entries were not drawn,
    0 when all are there; drawn ones are in order, and asking again draws others.
    """

    rcode: int
    entries: tuple[Entry, ...] = ()
    authority: tuple[ResourceRecord, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    limit: int = 0
    in_order: bool = False
    left_out: int = 0


class Unknown(msgspec.Struct, frozen=True):
    """The lookup must `fetch` this before the question can be answered."""

    kind: str
    key: str


class Asker:
    """Answers questions of one moment. `fetched` says that a fetch was made: what is still unknown is SERVFAIL.

    `room` is how many entries a reply holds at the most: of a larger service so many instances are drawn by `rng`.
    """

    def __init__(
        self,
        zone: Zone,
        lookup: Lookup,
        serial: int,
        rosters: Rosters,
        rng: random.Random,
        *,
        room: int = limits.ENTRIES_MAX,
        fetched: bool = False,
    ) -> None:
        self._zone = zone
        self._rosters = rosters
        self._rng = rng
        self._room = room
        self._lookup = lookup
        self._serial = serial
        self._fetched = fetched

    def answer(self, question: names.Question, kind: int) -> Answer | Unknown:
        """Records of type `kind` for a name of our domain."""
        if kind in (AXFR, IXFR):
            return Answer(rcode=NOTIMP)
        subject = question.subject
        if isinstance(subject, names.NoSubject):
            return self._no_name(question.domain)
        datacenter = question.datacenter
        if datacenter and datacenter != self._zone.datacenter.lower():
            known = datacenter in (name.lower() for name in self._lookup.datacenters())
            return Answer(rcode=SERVFAIL) if known else self._no_name(question.domain)
        match subject:
            case names.ServiceSubject():
                return self._service(question, subject, kind)
            case names.NodeSubject():
                return self._node(question, subject, kind)
            case names.VirtualSubject():
                return self._virtual(question, subject, kind)
            case names.AddressSubject():
                return self._address(question, subject, kind)
            case names.ApexSubject():
                return self._apex(question, kind)
            case names.QuerySubject():
                return self._query(question, subject, kind)
            case _:
                return self._no_data(question.domain)

    def reverse(self, question: names.ReverseQuestion) -> Answer | Unknown | None:
        """PTR: nodes of the address, else services; None when nobody of ours has it."""
        source = ("address", question.address)
        found = self._lookup.by_address(question.address)
        if found is None:
            return self._unknown(*source)
        domain = self._zone.domains[0]
        nodes, instances = found
        targets = [_node_name(node.node, node.datacenter or self._zone.datacenter, domain) for node in nodes] or [
            _service_name(item, item.node.datacenter or self._zone.datacenter, domain) for item in instances
        ]
        unique = sorted({target for target in targets if fits(target)})
        if not unique:
            return None
        ttl_s = node_ttl(self._zone.settings)
        entries = tuple(Entry((PointerRecord(question.name, ttl_s, target),)) for target in unique)
        return Answer(rcode=NOERROR, entries=entries, sources=(source,))

    def _service(self, question: names.Question, subject: names.ServiceSubject, kind: int) -> Answer | Unknown:
        source = ("connect" if subject.connect else "health", subject.service)
        instances = self._lookup.instances(subject.service, connect=subject.connect)
        if instances is None:
            return self._unknown(*source)
        if not instances:
            return self._no_name(question.domain, source)
        only_passing = self._zone.settings.only_passing
        roster = self._rosters.get(
            subject.service, subject.tag, instances, connect=subject.connect, only_passing=only_passing
        )
        return self._shown(question, kind, roster, service_ttl(self._zone.settings, subject.service), source)

    def _query(self, question: names.Question, subject: names.QuerySubject, kind: int) -> Answer | Unknown:
        """What a prepared query picks, by its own rules of health and with its own TTL, where it says one."""
        source = ("prepared-queries", subject.query)
        query = self._lookup.query(subject.query)
        if query is None:
            known = self._lookup.queries_known()
            return self._no_name(question.domain, source) if known else self._unknown(*source)
        service = query.service
        instances = self._lookup.instances(service.service, connect=service.connect)
        if instances is None:
            return self._unknown(*source)
        near = self._zone.node_name if service.near == NEAR_AGENT else service.near
        roster = self._rosters.pick(subject.query, service, near, instances)
        sources = (source, ("connect" if service.connect else "health", service.service.lower()))
        return self._shown(question, kind, roster, self._query_ttl(query), *sources, in_order=roster.is_near)

    def _query_ttl(self, query: PreparedQuery) -> int:
        try:
            ttl_s = parse_duration(query.dns.ttl) if query.dns.ttl else None
        except ValueError:
            ttl_s = None
        if ttl_s is None:
            return service_ttl(self._zone.settings, query.service.service)
        return whole_ttl(ttl_s)

    def _shown(
        self,
        question: names.Question,
        kind: int,
        shown: Shown,
        ttl_s: int,
        *sources: tuple[str, str],
        in_order: bool = False,
    ) -> Answer:
        """The records of instances, each with its weight: all, or as many as a reply has room for at the most."""
        if not shown.rows:
            return self._no_name(question.domain, *sources)
        if kind not in (SRV, A, AAAA, ANY):
            return self._no_data(question.domain, *sources)
        shown = shown.at_nodes(question.name)
        if kind != SRV and not shown.has_addresses:
            # A name has one CNAME or other records, never both (RFC 1034 section 3.6.2): host names are shown where no
            # instance has an address, and one at a time.
            entries = [Entry((AliasRecord(question.name, ttl_s, target),)) for target in shown.aliases]
            return msgspec.structs.replace(self._answer(question, entries, *sources, limit=1), in_order=in_order)
        limit = 0 if kind == SRV else max(0, self._zone.settings.a_record_limit)
        most = min(limit, self._room) if limit else self._room
        group = shown.group(kind)
        left_out = max(0, len(group) - most)
        rows = group.draw(most, self._rng) if left_out and not in_order else group.all()[:most]
        if kind == SRV:
            entries = list(self._service_entries(question, rows, ttl_s))
        else:
            name = question.name
            entries = [Entry((AddressRecord(name, ttl_s, row.packed),), weight=row.weight) for row in rows]
        answer = self._answer(question, entries, *sources, limit=limit)
        return msgspec.structs.replace(answer, in_order=in_order or left_out > 0, left_out=left_out)

    def _service_entries(self, question: names.Question, rows: Iterable[Row], ttl_s: int) -> Iterable[Entry]:
        for row in rows:
            target, additional = self._target(row, question.domain, ttl_s)
            if target:
                port = row.instance.service.port
                record = ServiceRecord(question.name, ttl_s, SRV_PRIORITY, row.weight, port, target)
                yield Entry((record,), additional, row.weight)

    def _target(self, row: Row, domain: Name, ttl_s: int) -> tuple[Name, tuple[ResourceRecord, ...]]:
        """The SRV target of an instance and the records that resolve it; () when it has no address that is one."""
        item, packed = row.instance, row.packed
        datacenter = item.node.datacenter or self._zone.datacenter
        if not item.service.address or (packed and not pack_address(item.service.address)):
            target = _node_name(item.node.node, datacenter, domain)
            if fits(target):
                alias = name_of(item.address) if not packed else ()
                if packed:
                    return target, (AddressRecord(target, ttl_s, packed),)
                return (target, (AliasRecord(target, ttl_s, alias),)) if alias else ((), ())
        if packed:
            target = (packed.hex().encode(), b"addr", datacenter.encode(), *domain)
            return (target, (AddressRecord(target, ttl_s, packed),)) if fits(target) else ((), ())
        return name_of(item.address), ()

    def _node(self, question: names.Question, subject: names.NodeSubject, kind: int) -> Answer | Unknown:
        source = ("nodes", subject.node)
        node = self._lookup.node(subject.node)
        if node is None:
            return self._no_name(question.domain, source) if self._lookup.nodes_known() else self._unknown(*source)
        ttl_s = node_ttl(self._zone.settings)
        packed = pack_address(node.address)
        alias = () if packed else name_of(node.address)
        records: list[ResourceRecord] = []
        if alias:
            records.append(AliasRecord(question.name, ttl_s, alias))
        else:
            records += self._address_records(question.name, ttl_s, packed, kind)
            if kind in (TXT, ANY):
                records += [TextRecord(question.name, ttl_s, text) for text in node_texts(node)]
        return self._records(question, records, source)

    def _address(self, question: names.Question, subject: names.AddressSubject, kind: int) -> Answer:
        ttl_s = node_ttl(self._zone.settings)
        return self._records(question, self._address_records(question.name, ttl_s, subject.packed, kind))

    def _virtual(self, question: names.Question, subject: names.VirtualSubject, kind: int) -> Answer | Unknown:
        source = ("services", subject.service)
        summary = self._lookup.summary(subject.service)
        if summary is None and not self._fetched:
            return Unknown(*source)
        packed = pack_address(summary.virtual_ip) if summary is not None else b""
        if not packed:
            return self._no_name(question.domain, source)
        ttl_s = service_ttl(self._zone.settings, subject.service)
        return self._records(question, self._address_records(question.name, ttl_s, packed, kind), source)

    def _apex(self, question: names.Question, kind: int) -> Answer:
        records: list[ResourceRecord] = []
        if kind in (SOA, ANY):
            records.append(self.soa(question.domain))
        additional: tuple[ResourceRecord, ...] = ()
        if kind in (NS, ANY):
            target = _node_name(self._zone.node_name, self._zone.datacenter, question.domain)
            if fits(target):
                records.append(NameServerRecord(question.name, 0, target))
                node = self._lookup.node(self._zone.node_name.lower())
                packed = pack_address(node.address) if node is not None else b""
                additional = (AddressRecord(target, 0, packed),) if packed else ()
        if not records:
            return self._no_data(question.domain)
        source = ("nodes", self._zone.node_name.lower())
        return Answer(rcode=NOERROR, entries=(Entry(tuple(records), additional),), sources=(source,))

    def _address_records(self, name: Name, ttl_s: int, packed: bytes, kind: int) -> list[ResourceRecord]:
        return [AddressRecord(name, ttl_s, packed)] if packed and is_of_kind(packed, kind) else []

    def _records(self, question: names.Question, records: list[ResourceRecord], *sources: tuple[str, str]) -> Answer:
        return self._answer(question, [Entry((record,)) for record in records], *sources)

    def _answer(
        self, question: names.Question, entries: Iterable[Entry], *sources: tuple[str, str], limit: int = 0
    ) -> Answer:
        found = tuple(entries)
        if not found:
            return self._no_data(question.domain, *sources)
        return Answer(rcode=NOERROR, entries=found, sources=sources, limit=max(0, limit))

    def _no_name(self, domain: Name, *sources: tuple[str, str]) -> Answer:
        return Answer(rcode=NXDOMAIN, authority=(self.soa(domain),), sources=sources)

    def _no_data(self, domain: Name, *sources: tuple[str, str]) -> Answer:
        return Answer(rcode=NOERROR, authority=(self.soa(domain),), sources=sources)

    def _unknown(self, kind: str, key: str) -> Answer | Unknown:
        return Answer(rcode=SERVFAIL) if self._fetched else Unknown(kind, key)

    def soa(self, domain: Name) -> AuthorityRecord:
        """The zone's SOA. Its TTL is the negative TTL, which resolvers take from the smaller of both (RFC 2308)."""
        soa = self._zone.settings.soa
        return AuthorityRecord(
            name=domain,
            ttl_s=soa.min_ttl_s,
            primary=(b"ns", *domain),
            mailbox=(b"hostmaster", *domain),
            serial=self._serial & 0xFFFFFFFF,
            refresh_s=soa.refresh_s,
            retry_s=soa.retry_s,
            expire_s=soa.expire_s,
            min_ttl_s=soa.min_ttl_s,
        )


def node_texts(node: Node) -> list[tuple[bytes, ...]]:
    """The strings of a node's TXT records, one record a pair: `key=value`, or the value alone under an `rfc1035-` key."""
    texts = []
    for key, value in sorted(node.meta.items()):
        text = value if key.lower().startswith(_RFC1035_PREFIX) else f"{key}={value}"
        raw = text.encode()
        texts.append(tuple(raw[i : i + _TEXT_BYTES_MAX] for i in range(0, len(raw), _TEXT_BYTES_MAX)) or (b"",))
    return texts


def _node_name(node: str, datacenter: str, domain: Name) -> Name:
    return (*node.encode().split(b"."), b"node", datacenter.encode(), *domain)


def _service_name(item: ServiceInstance, datacenter: str, domain: Name) -> Name:
    return (*item.service.service.encode().split(b"."), b"service", datacenter.encode(), *domain)
