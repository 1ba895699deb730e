from __future__ import annotations

import pytest

from chowk.dns.names import (
    AddressSubject,
    ApexSubject,
    EmptySubject,
    ForeignQuestion,
    IngressSubject,
    NodeSubject,
    NoSubject,
    QuerySubject,
    Question,
    ReverseQuestion,
    ServiceSubject,
    Subject,
    VirtualSubject,
    parse_name,
)
from chowk.dns.records import name_of

DOMAINS = (name_of("consul"), name_of("alt.example"))

FORMS: list[tuple[str, Subject, str]] = [
    ("n1.node.consul", NodeSubject("n1"), ""),
    ("a.b.node.dc1.consul", NodeSubject("a.b"), "dc1"),
    ("web.service.consul", ServiceSubject("web"), ""),
    ("web.service.dc2.consul", ServiceSubject("web"), "dc2"),
    ("v1.web.service.consul", ServiceSubject("web", "v1"), ""),
    ("v1.2.3.web.service.dc1.consul", ServiceSubject("web", "v1.2.3"), "dc1"),
    ("service.service.consul", ServiceSubject("service"), ""),
    ("_web._tcp.service.consul", ServiceSubject("web"), ""),
    ("_web._v1.service.dc1.consul", ServiceSubject("web", "v1"), "dc1"),
    ("_web._tcp.consul", ServiceSubject("web"), ""),
    ("_web._v1.dc1.consul", ServiceSubject("web", "v1"), "dc1"),
    ("web.connect.consul", ServiceSubject("web", connect=True), ""),
    ("web.virtual.consul", VirtualSubject("web"), ""),
    ("web.ingress.dc1.consul", IngressSubject("web"), "dc1"),
    ("geo.query.consul", QuerySubject("geo"), ""),
    ("0a000001.addr.dc1.consul", AddressSubject(bytes([10, 0, 0, 1])), "dc1"),
    ("20010db8000000000000000000000001.addr.consul", AddressSubject(bytes.fromhex("20010db8" + "0" * 23 + "1")), ""),
    ("0a00000g.addr.consul", NoSubject(), ""),
    ("0a0000.addr.consul", NoSubject(), ""),
    ("x.0a000001.addr.consul", NoSubject(), ""),
    ("web.service.too.many.consul", NoSubject(), ""),
    ("consul", ApexSubject(), ""),
    ("service.consul", EmptySubject(), ""),
    ("node.dc1.consul", EmptySubject(), "dc1"),
    ("_tcp.service.consul", EmptySubject(), ""),
    ("dc1.consul", EmptySubject(), "dc1"),
]


@pytest.mark.parametrize(("text", "subject", "datacenter"), FORMS)
def test_each_form_of_name_is_understood(text: str, subject: Subject, datacenter: str) -> None:
    question = parse_name(name_of(text), DOMAINS)
    assert isinstance(question, Question)
    assert question.subject == subject
    if not isinstance(subject, NoSubject):
        assert question.datacenter == datacenter


def test_case_does_not_matter_and_the_clients_case_is_kept() -> None:
    question = parse_name(name_of("V1.WEB.Service.DC1.CoNsUl"), DOMAINS)
    assert isinstance(question, Question)
    assert question.subject == ServiceSubject("web", "v1")
    assert question.datacenter == "dc1"
    assert question.name[0] == b"V1"
    assert question.domain == (b"CoNsUl",)


def test_the_alternative_domain_answers_too() -> None:
    question = parse_name(name_of("web.service.alt.example"), DOMAINS)
    assert isinstance(question, Question)
    assert question.domain == (b"alt", b"example")


@pytest.mark.parametrize("text", ["example.com", "notconsul", "web.service.consul.example", "5.10.in-addr.arpa"])
def test_other_names_are_foreign(text: str) -> None:
    assert isinstance(parse_name(name_of(text), DOMAINS), ForeignQuestion)


def test_the_root_is_foreign() -> None:
    assert isinstance(parse_name((), DOMAINS), ForeignQuestion)


def test_reverse_names_give_their_address() -> None:
    assert parse_name(name_of("4.3.2.1.IN-ADDR.arpa"), DOMAINS) == ReverseQuestion(
        name_of("4.3.2.1.IN-ADDR.arpa"), "1.2.3.4"
    )
    nibbles = ".".join(reversed("20010db8000000000000000000000001")) + ".ip6.arpa"
    question = parse_name(name_of(nibbles), DOMAINS)
    assert isinstance(question, ReverseQuestion)
    assert question.address == "2001:db8::1"


@pytest.mark.parametrize("text", ["256.3.2.1.in-addr.arpa", "x.3.2.1.in-addr.arpa", "0." * 32 + "ip6.arpa"])
def test_a_reverse_name_that_is_no_address_is_foreign(text: str) -> None:
    question = parse_name(name_of(text), DOMAINS)
    expected = ReverseQuestion if text.startswith("0.") else ForeignQuestion
    assert isinstance(question, expected)


def test_labels_that_are_not_text_name_nothing_and_break_nothing() -> None:
    question = parse_name((b"\xff\xfe", b"a.b", b"service", b"consul"), DOMAINS)
    assert isinstance(question, Question)
    assert isinstance(question.subject, ServiceSubject)
