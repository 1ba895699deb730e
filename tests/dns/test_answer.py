from __future__ import annotations

import random

import msgspec
import pytest

from chowk.core.events import ServiceSummary
from chowk.core.records.node import Node
from chowk.core.records.service import Weights
from chowk.dns.answer import Answer, Asker, Unknown
from chowk.dns.names import Question, ReverseQuestion, parse_name
from chowk.dns.records import (
    AAAA,
    ANY,
    AXFR,
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
    NameServerRecord,
    PointerRecord,
    ServiceRecord,
    TextRecord,
    name_of,
)
from chowk.dns.roster import Rosters
from chowk.dns.settings import DnsSettings, make_zone
from support.dns_lookup import FakeLookup, instance

SETTINGS = DnsSettings(alt_domain="alt.example")


def ask(
    lookup: FakeLookup, text: str, kind: int = A, settings: DnsSettings = SETTINGS, *, fetched: bool = False
) -> Answer | Unknown:
    zone = make_zone(settings, "agent1", "dc1")
    question = parse_name(name_of(text), zone.domains)
    assert isinstance(question, Question)
    return Asker(zone, lookup, 7, Rosters(), random.Random(1), fetched=fetched).answer(question, kind)


def known(
    lookup: FakeLookup, text: str, kind: int = A, settings: DnsSettings = SETTINGS, *, fetched: bool = False
) -> Answer:
    found = ask(lookup, text, kind, settings, fetched=fetched)
    assert isinstance(found, Answer)
    return found


def addresses(answer: Answer) -> list[str]:
    return sorted(
        ".".join(map(str, record.packed))
        for entry in answer.entries
        for record in entry.answers
        if isinstance(record, AddressRecord)
    )


def web() -> FakeLookup:
    lookup = FakeLookup()
    lookup.services["web"] = (
        instance("web", 0, tags=("V1", "a.b"), weights=Weights(passing=10, warning=2)),
        instance("web", 1, status="warning", weights=Weights(passing=10, warning=2)),
        instance("web", 2, status="critical"),
        instance("web", 3, check_id="_node_maintenance"),
        instance("web", 4, address="192.168.1.4", port=99),
    )
    return lookup


def test_critical_instances_and_those_in_maintenance_are_never_shown() -> None:
    assert addresses(known(web(), "web.service.consul")) == ["10.0.0.1", "10.0.0.2", "192.168.1.4"]


def test_warning_instances_are_hidden_when_only_passing_is_set() -> None:
    settings = msgspec.structs.replace(SETTINGS, only_passing=True)
    assert addresses(known(web(), "web.service.consul", A, settings)) == ["10.0.0.1", "192.168.1.4"]


@pytest.mark.parametrize("text", ["v1.web.service.consul", "a.b.web.service.consul", "_web._v1.consul"])
def test_a_tag_narrows_the_instances_without_regard_to_case(text: str) -> None:
    assert addresses(known(web(), text)) == ["10.0.0.1"]


@pytest.mark.parametrize(
    "text",
    [
        "no.web.service.consul",
        "nobody.service.consul",
        "web.service.dc9.consul",
        "nobody.node.consul",
        "web.virtual.consul",
        "web.query.consul",
        "zz.addr.consul",
    ],
)
def test_what_does_not_exist_is_nxdomain_with_the_soa(text: str) -> None:
    answer = known(web(), text, fetched=True)
    assert answer.rcode == NXDOMAIN
    assert not answer.entries
    assert isinstance(answer.authority[0], AuthorityRecord)


def test_the_soa_has_the_configured_timers() -> None:
    answer = known(web(), "nobody.service.alt.example")
    (soa,) = answer.authority
    assert soa == AuthorityRecord(
        name=(b"alt", b"example"), ttl_s=0, primary=(b"ns", b"alt", b"example"),
        mailbox=(b"hostmaster", b"alt", b"example"), serial=7, refresh_s=3600, retry_s=600, expire_s=86400, min_ttl_s=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("web.service.consul", AAAA),
        ("web.service.consul", TXT),
        ("web.service.consul", 15),
        ("service.consul", A),
        ("web.ingress.consul", A),
        ("0a000001.addr.dc1.consul", AAAA),
        ("consul", A),
    ],
)
def test_a_name_without_records_of_the_type_is_noerror_with_the_soa(text: str, kind: int) -> None:
    answer = known(web(), text, kind)
    assert answer.rcode == NOERROR
    assert not answer.entries
    assert isinstance(answer.authority[0], AuthorityRecord)


def test_srv_names_the_node_or_the_address_and_brings_its_record() -> None:
    entries = known(web(), "web.service.consul", SRV).entries
    by_port = {entry.answers[0].target: entry for entry in entries if isinstance(entry.answers[0], ServiceRecord)}
    node, address = name_of("n0.node.dc1.consul"), name_of("c0a80104.addr.dc1.consul")
    name = name_of("web.service.consul")
    assert by_port[node].answers == (ServiceRecord(name, 0, 1, 10, 8080, node),)
    assert by_port[node].additional == (AddressRecord(node, 0, bytes([10, 0, 0, 1])),)
    assert by_port[address].answers == (ServiceRecord(name, 0, 1, 1, 99, address),)
    assert by_port[address].additional == (AddressRecord(address, 0, bytes([192, 168, 1, 4])),)
    warned = by_port[name_of("n1.node.dc1.consul")].answers[0]
    assert isinstance(warned, ServiceRecord)
    assert warned.weight == 2


def test_a_node_whose_name_no_label_can_hold_is_named_by_its_address() -> None:
    lookup = FakeLookup()
    lookup.services["web"] = (instance("web", 0, node="x" * 70),)
    (entry,) = known(lookup, "web.service.consul", SRV).entries
    assert isinstance(entry.answers[0], ServiceRecord)
    assert entry.answers[0].target == name_of("0a000001.addr.dc1.consul")


def test_equal_addresses_are_answered_once() -> None:
    lookup = FakeLookup()
    lookup.services["web"] = tuple(instance("web", i, node="n", node_address="10.0.0.9", port=i + 1) for i in range(4))
    assert addresses(known(lookup, "web.service.consul")) == ["10.0.0.9"]
    assert len(known(lookup, "web.service.consul", SRV).entries) == 4


def test_a_host_name_becomes_a_cname_where_no_instance_has_an_address() -> None:
    lookup = FakeLookup()
    lookup.services["db"] = (instance("db", 0, address="db.example.com"), instance("db", 1, address="db2.example.com"))
    answer = known(lookup, "db.service.consul")
    assert {record.target for entry in answer.entries for record in entry.answers if isinstance(record, AliasRecord)} == {
        name_of("db.example.com"), name_of("db2.example.com"),
    }  # fmt: skip
    assert answer.limit == 1
    lookup.services["db"] += (instance("db", 2),)
    assert addresses(known(lookup, "db.service.consul")) == ["10.0.0.3"]
    targets = {entry.answers[0].target for entry in known(lookup, "db.service.consul", SRV).entries}  # type: ignore[union-attr]
    assert name_of("db.example.com") in targets


def test_an_address_that_is_neither_ip_nor_name_is_left_out() -> None:
    lookup = FakeLookup()
    lookup.services["db"] = (instance("db", 0, address="bad..name", node_address="also..bad"),)
    assert not known(lookup, "db.service.consul").entries
    assert not known(lookup, "db.service.consul", SRV).entries


def test_who_gives_the_name_that_is_asked_for_as_its_address_is_found_at_its_node() -> None:
    lookup = FakeLookup()
    lookup.services["db"] = (
        instance("db", 0, address="DB.service.consul."),
        instance("db", 1, address="db.example.com"),
    )
    assert addresses(known(lookup, "db.service.consul")) == ["10.0.0.1"]
    targets = {entry.answers[0].target for entry in known(lookup, "db.service.consul", SRV).entries}  # type: ignore[union-attr]
    assert targets == {name_of("n0.node.dc1.consul"), name_of("db.example.com")}
    assert not addresses(known(lookup, "db.service.dc1.consul"))


def test_an_instance_that_gives_the_address_of_its_node_itself_is_named_by_it() -> None:
    lookup = FakeLookup()
    lookup.services["web"] = (instance("web", 0, address="10.0.0.1"), instance("web", 1))
    targets = {entry.answers[0].target for entry in known(lookup, "web.service.consul", SRV).entries}  # type: ignore[union-attr]
    assert targets == {name_of("0a000001.addr.dc1.consul"), name_of("n1.node.dc1.consul")}


def test_connect_asks_for_mesh_capable_instances() -> None:
    lookup = web()
    lookup.connect["web"] = (instance("web-sidecar-proxy", 7, port=21000),)
    answer = known(lookup, "web.connect.consul")
    assert addresses(answer) == ["10.0.0.8"]
    assert answer.sources == (("connect", "web"),)


def test_virtual_gives_the_virtual_address() -> None:
    lookup = web()
    lookup.summaries["web"] = ServiceSummary(service="web", virtual_ip="240.0.0.1")
    assert addresses(known(lookup, "web.virtual.consul")) == ["240.0.0.1"]


def test_a_node_has_its_address_and_a_text_for_each_pair_of_its_meta() -> None:
    lookup = FakeLookup()
    lookup.nodes["n1"] = Node(
        node="n1", address="10.0.0.2", meta={"env": "prod", "rfc1035-spf": "v=spf1", "e": "x" * 300}
    )
    name = name_of("n1.node.consul")
    answer = known(lookup, "n1.node.consul", ANY)
    records = [record for entry in answer.entries for record in entry.answers]
    assert records == [
        AddressRecord(name, 0, bytes([10, 0, 0, 2])),
        TextRecord(name, 0, (b"e=" + b"x" * 253, b"x" * 47)),
        TextRecord(name, 0, (b"env=prod",)),
        TextRecord(name, 0, (b"v=spf1",)),
    ]
    assert len(known(lookup, "n1.node.consul", TXT).entries) == 3


def test_ttls_come_from_the_exact_name_then_the_longest_prefix_then_the_star() -> None:
    settings = DnsSettings(node_ttl_s=7, service_ttl_s={"*": 1, "we*": 2, "w*": 3, "web": 4})
    lookup = FakeLookup()
    for name in ("web", "wet", "win", "xy"):
        lookup.services[name] = (instance(name, 0),)
    ttls = {
        name: known(lookup, f"{name}.service.consul", A, settings).entries[0].answers[0].ttl_s
        for name in lookup.services
    }
    assert ttls == {"web": 4, "wet": 2, "win": 3, "xy": 1}
    lookup.nodes["n1"] = Node(node="n1", address="10.0.0.2")
    for name in ("n1.node.consul", "0a000002.addr.consul"):
        assert known(lookup, name, A, settings).entries[0].answers[0].ttl_s == 7


def test_the_domain_has_an_soa_and_this_agent_as_name_server() -> None:
    lookup = FakeLookup()
    lookup.nodes["agent1"] = Node(node="agent1", address="10.0.0.99")
    assert isinstance(known(lookup, "consul", SOA).entries[0].answers[0], AuthorityRecord)
    (entry,) = known(lookup, "consul", NS).entries
    target = name_of("agent1.node.dc1.consul")
    assert entry.answers == (NameServerRecord(name_of("consul"), 0, target),)
    assert entry.additional == (AddressRecord(target, 0, bytes([10, 0, 0, 99])),)


def test_zone_transfers_are_not_implemented() -> None:
    assert known(FakeLookup(), "consul", AXFR).rcode == NOTIMP


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("web.service.consul", "health", "web"),
        ("web.connect.consul", "connect", "web"),
        ("n1.node.consul", "nodes", "n1"),
    ],
)
def test_what_is_not_known_asks_for_a_fetch_and_is_servfail_after_one(text: str, kind: str, key: str) -> None:
    lookup = FakeLookup(known=False)
    assert ask(lookup, text) == Unknown(kind, key)
    assert known(lookup, text, fetched=True).rcode == SERVFAIL


def test_another_known_datacenter_cannot_be_answered_from_here() -> None:
    assert known(web(), "web.service.dc2.consul").rcode == SERVFAIL


def test_reverse_gives_the_node_else_the_services_else_nothing() -> None:
    lookup = web()
    lookup.nodes["n1"] = Node(node="n1", address="10.0.0.2")
    asker = Asker(make_zone(SETTINGS, "agent1", "dc1"), lookup, 7, Rosters(), random.Random(1))

    def targets(address: str) -> list[bytes]:
        found = asker.reverse(ReverseQuestion(name_of("x.arpa"), address))
        assert isinstance(found, Answer)
        return [b".".join(e.answers[0].target) for e in found.entries if isinstance(e.answers[0], PointerRecord)]

    assert targets("10.0.0.2") == [b"n1.node.dc1.consul"]
    assert targets("192.168.1.4") == [b"web.service.dc1.consul"]
    assert asker.reverse(ReverseQuestion(name_of("x.arpa"), "9.9.9.9")) is None


@pytest.mark.parametrize("domain", ["", ".", "a..b", "x" * 64])
def test_a_domain_that_cannot_be_one_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        make_zone(DnsSettings(domain=domain), "n", "dc1")
