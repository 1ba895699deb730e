"""`<name>.query.consul`: prepared queries over DNS, by their own rules of health, TTL and order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chowk.core.records.prepared_query import NAME_PREFIX_MATCH, PreparedQuery, QueryDNS, QueryService, QueryTemplate
from chowk.core.runtime.clock import ManualClock
from chowk.dns.answer import Answer, Asker, Unknown
from chowk.dns.limits import Via
from chowk.dns.names import QuerySubject, Question, parse_name
from chowk.dns.records import AAAA, NOERROR, NXDOMAIN, SERVFAIL, SRV, TXT, A, AddressRecord, ServiceRecord, name_of
from chowk.dns.responder import Responder
from chowk.dns.roster import Rosters
from chowk.dns.settings import DnsSettings, make_zone
from support.dns_lookup import FakeLookup, instance
from support.dns_wire import data, packet, rcode


def query(name: str = "q", ttl: str = "", template: str = "", **service: Any) -> PreparedQuery:
    return PreparedQuery(
        id=f"id-{name}",
        name=name,
        template=QueryTemplate(type=NAME_PREFIX_MATCH, regexp=template) if template else QueryTemplate(),
        service=QueryService(**{"service": "web", **service}),
        dns=QueryDNS(ttl=ttl),
    )


def lookup_of(*queries: PreparedQuery) -> FakeLookup:
    lookup = FakeLookup()
    lookup.queries = list(queries)
    lookup.services["web"] = (
        instance("web", 0, tags=("v1",)),
        instance("web", 1, status="warning"),
        instance("web", 2, status="critical"),
    )
    lookup.connect["web"] = (instance("web-proxy", 6),)
    return lookup


def ask(lookup: FakeLookup, text: str, kind: int = A, *, fetched: bool = False, **fields: Any) -> Answer | Unknown:
    zone = make_zone(DnsSettings(**fields), "agent1", "dc1")
    question = parse_name(name_of(text), zone.domains)
    assert isinstance(question, Question)
    return Asker(zone, lookup, 7, Rosters(), random.Random(1), fetched=fetched).answer(question, kind)


def known(lookup: FakeLookup, text: str, kind: int = A, **fields: Any) -> Answer:
    found = ask(lookup, text, kind, **fields)
    assert isinstance(found, Answer)
    return found


def addresses(answer: Answer) -> list[str]:
    records = [record for entry in answer.entries for record in entry.answers]
    return [".".join(map(str, record.packed)) for record in records if isinstance(record, AddressRecord)]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, ["10.0.0.1", "10.0.0.2"]),
        ({"only_passing": True}, ["10.0.0.1"]),
        ({"tags": ("V1",)}, ["10.0.0.1"]),
        ({"tags": ("!v1",)}, ["10.0.0.2"]),
        ({"connect": True}, ["10.0.0.7"]),
    ],
)
def test_a_query_shows_what_it_picks(service: dict[str, Any], expected: list[str]) -> None:
    answer = known(lookup_of(query(**service)), "q.query.consul", only_passing=False)
    assert (answer.rcode, sorted(addresses(answer))) == (NOERROR, expected)


def test_health_is_the_querys_business_and_not_the_agents() -> None:
    answer = known(lookup_of(query()), "q.query.consul", only_passing=True)
    assert len(addresses(answer)) == 2


@pytest.mark.parametrize("text", ["q.query.consul", "Q.query.dc1.consul", "_q._tcp.query.consul"])
def test_every_form_of_the_name_is_answered(text: str) -> None:
    assert len(addresses(known(lookup_of(query()), text))) == 2


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("none.query.consul", A, NXDOMAIN),
        ("q.query.dc9.consul", A, NXDOMAIN),
        ("gone.query.consul", A, NXDOMAIN),
        ("id-t.query.consul", A, NXDOMAIN),
        ("q.query.consul", AAAA, NOERROR),
        ("q.query.consul", TXT, NOERROR),
        ("query.consul", A, NOERROR),
    ],
)
def test_no_such_query_or_no_instance_is_nxdomain_and_no_such_record_is_not(
    text: str, kind: int, expected: int
) -> None:
    lookup = lookup_of(query(), query("gone", service="gone"))
    answer = known(lookup, text, kind)
    assert (answer.rcode, answer.entries, len(answer.authority)) == (expected, (), 1)


def test_srv_has_weights_ports_and_addresses() -> None:
    answer = known(lookup_of(query(only_passing=True)), "q.query.consul", SRV)
    [entry] = answer.entries
    [record] = entry.answers
    assert isinstance(record, ServiceRecord)
    assert (record.port, record.weight) == (8080, 1)
    assert isinstance(entry.additional[0], AddressRecord)


def test_the_ttl_is_the_querys_else_the_services() -> None:
    lookup = lookup_of(query("own", ttl="1m5s"), query("zero", ttl="0s"), query("none"), query("bad", ttl="x"))
    for name, ttl_s in (("own", 65), ("zero", 0), ("none", 9), ("bad", 9)):
        answer = known(lookup, f"{name}.query.consul", service_ttl_s={"web": 9.0})
        assert {record.ttl_s for entry in answer.entries for record in entry.answers} == {ttl_s}


def test_a_template_answers_names_that_begin_with_its_own() -> None:
    lookup = lookup_of(query("geo-", template=r"^geo-(.*)$", service="${match(1)}"))
    assert len(addresses(known(lookup, "geo-web.query.consul"))) == 2
    assert known(lookup, "geo-other.query.consul").rcode == NXDOMAIN
    dotted = lookup_of(query("", template=r"^(.*)\.eu$", service="${match(1)}"))
    assert len(addresses(known(dotted, "web.eu.query.consul"))) == 2


def test_an_answer_rests_on_the_query_and_on_its_service() -> None:
    answer = known(lookup_of(query(service="WEB"), query("c", connect=True)), "q.query.consul")
    assert answer.sources == (("prepared-queries", "q"), ("health", "web"))


def test_what_is_not_known_is_fetched_once_together() -> None:
    lookup = lookup_of(query())
    lookup.known_everything = False
    assert ask(lookup, "q.query.consul") == Unknown("prepared-queries", "q")
    lookup.fetched.add(("prepared-queries", "q"))
    assert ask(lookup, "q.query.consul") == Unknown("prepared-queries", "q")
    assert known(lookup, "q.query.consul", fetched=True).rcode == SERVFAIL
    assert known(lookup, "none.query.consul", fetched=True).rcode == NXDOMAIN


def replies(lookup: FakeLookup, count: int = 30) -> list[list[str]]:
    responder = Responder(make_zone(DnsSettings(), "n3", "dc1"), None, lookup, ManualClock(), random.Random(1))
    found = []
    for number in range(count):
        asked = packet("q.query.consul", number=number)
        ready = responder.ready(asked, Via.UDP_LOCAL)
        if ready is None:
            out: list[bytes] = []
            responder.handle(asked, Via.UDP_LOCAL, out.append)
            ready = out[0]
        assert rcode(ready) == "NOERROR"
        found.append(data(ready))
    return found


def crowd(near: str) -> FakeLookup:
    lookup = lookup_of(query(near=near))
    lookup.services["web"] = tuple(instance("web", number, node=f"n{number}") for number in range(5))
    return lookup


@pytest.mark.parametrize(("near", "first"), [("_agent", "10.0.0.4"), ("N4", "10.0.0.5")])
def test_the_node_that_is_near_comes_first_in_every_reply(near: str, first: str) -> None:
    assert {found[0] for found in replies(crowd(near))} == {first}


@pytest.mark.parametrize("near", ["", "_ip", "elsewhere"])
def test_without_one_the_order_turns(near: str) -> None:
    assert len({found[0] for found in replies(crowd(near))}) > 2


def test_the_subject_of_a_query_name_may_have_dots() -> None:
    found = parse_name(name_of("a.b.query.consul"), ((b"consul",),))
    assert isinstance(found, Question)
    assert found.subject == QuerySubject("a.b")


def test_a_roster_of_a_query_is_made_once_a_change_of_its_service_or_of_itself() -> None:
    rosters, rows = Rosters(), crowd("").services["web"]
    first = rosters.pick("q", QueryService(service="web"), "", rows)
    assert rosters.pick("q", QueryService(service="web"), "", rows) is first
    assert rosters.pick("other", QueryService(service="web"), "", rows) is not first
    fewer = rosters.pick("q", QueryService(service="web"), "", rows[1:])
    assert [row.instance for row in fewer.rows] == list(rows[1:])
    assert fewer.rows[0] is first.rows[1], "what did not change is not judged again"
    none = rosters.pick("q", QueryService(service="web", tags=("none",)), "", rows[1:])
    assert not none.rows, "a changed query is judged anew"
    near = rosters.pick("q", QueryService(service="web"), "N4", rows)
    assert (near.is_near, near.rows[0].instance.node.node, near.rows[1].instance.node.node) == (True, "n4", "n0")
