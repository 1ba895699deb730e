"""The responder without sockets: bytes in, bytes out, on every transport."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.core.records.node import Node
from chowk.core.runtime.clock import ManualClock
from chowk.dns import responder as responder_module
from chowk.dns.limits import Via
from chowk.dns.responder import Responder
from chowk.dns.settings import DnsSettings, make_zone
from support.dns_lookup import FakeLookup, instance
from support.dns_wire import data, packet, rcode, read


def make(lookup: FakeLookup, clock: ManualClock | None = None, **fields: Any) -> Responder:
    zone = make_zone(DnsSettings(**fields), "agent1", "dc1")
    return Responder(zone, None, lookup, clock or ManualClock(), random.Random(1))


def reply(responder: Responder, query: bytes, via: Via = Via.UDP_LOCAL) -> bytes:
    ready = responder.ready(query, via)
    if ready is not None:
        return ready
    out: list[bytes] = []
    responder.handle(query, via, out.append)
    assert len(out) == 1
    return out[0]


def crowd(count: int, **fields: Any) -> FakeLookup:
    lookup = FakeLookup()
    lookup.services["web"] = tuple(instance("web", number, **fields) for number in range(count))
    lookup.nodes["n1"] = Node(node="n1", address="10.0.0.2")
    return lookup


def test_a_reply_repeats_id_question_case_and_the_recursion_bit() -> None:
    query = packet("WeB.sErViCe.CoNsUl", number=0xBEEF, rd=1)
    found = read(reply(make(crowd(1)), query))
    assert found.header.id == 0xBEEF
    assert (found.header.qr, found.header.aa, found.header.rd, found.header.ra) == (1, 1, 1, 0)
    assert str(found.q.qname) == "WeB.sErViCe.CoNsUl."
    assert str(found.rr[0].rname) == "WeB.sErViCe.CoNsUl."


def test_without_edns_three_answers_and_512_bytes_is_all() -> None:
    responder = make(crowd(50))
    assert len(data(reply(responder, packet("web.service.consul")))) == 3
    assert len(data(reply(make(crowd(50), udp_answer_limit=8), packet("web.service.consul")))) == 8
    found = reply(make(crowd(50), udp_answer_limit=50), packet("web.service.consul", "SRV"))
    assert len(found) <= 512


@pytest.mark.parametrize("size", [0, 512, 700, 1232, 4096, 65535])
@pytest.mark.parametrize("kind", ["A", "SRV", "ANY"])
@pytest.mark.parametrize("via", list(Via))
def test_a_reply_never_outgrows_its_client_and_uses_most_of_its_room(size: int, kind: str, via: Via) -> None:
    found = reply(make(crowd(300)), packet("web.service.consul", kind, edns=size), via)
    room = {Via.UDP_LOCAL: max(512, size), Via.UDP_REMOTE: max(512, min(size, 1232)), Via.TCP: 65535}[via]
    assert len(found) <= room
    message = read(found)
    assert message.header.tc == 0
    if len(message.rr) < 300:
        assert len(found) > room - 120
    targets = {str(rr.rdata.target) for rr in message.rr if rr.rtype == 33}
    assert targets == {str(rr.rname) for rr in message.ar if rr.rtype == 1}


def test_a_service_larger_than_tcp_is_cut_to_64_kb_and_stays_readable() -> None:
    found = reply(make(crowd(5000)), packet("web.service.consul", "SRV"), Via.TCP)
    message = read(found)
    assert 60_000 < len(found) <= 65_535
    assert len(message.rr) == len(message.ar)
    assert {str(rr.rdata.target) for rr in message.rr} == {str(rr.rname) for rr in message.ar}


def test_truncation_is_flagged_when_enabled() -> None:
    responder = make(crowd(50), enable_truncate=True)
    assert read(reply(responder, packet("web.service.consul"))).header.tc == 1
    assert read(reply(responder, packet("web.service.consul"), Via.TCP)).header.tc == 0
    assert read(reply(make(crowd(2), enable_truncate=True), packet("web.service.consul"))).header.tc == 0


def test_an_answer_too_large_with_its_additional_record_comes_without_it() -> None:
    lookup = FakeLookup()
    long = ".".join(["x" * 50] * 4)
    lookup.services["web"] = (instance("web", 0, node=long),)
    name = ".".join(["y" * 40] * 3) + ".web.service.consul"
    lookup.services["web"] = (instance("web", 0, node=long, tags=(".".join(["y" * 40] * 3),)),)
    found = read(reply(make(lookup), packet(name, "SRV")))
    assert len(found.rr) == 1


def test_a_record_limit_caps_addresses_on_every_transport() -> None:
    responder = make(crowd(20), a_record_limit=2)
    assert len(data(reply(responder, packet("web.service.consul"), Via.TCP))) == 2
    assert len(data(reply(responder, packet("web.service.consul", "SRV"), Via.TCP))) == 20


def test_edns_is_echoed_and_an_unknown_version_is_badvers() -> None:
    responder = make(crowd(1))
    (opt,) = read(reply(responder, packet("web.service.consul", edns=1400))).ar
    assert (opt.rtype, opt.edns_len, opt.edns_ver) == (41, 1232, 0)
    assert not read(reply(responder, packet("web.service.consul"))).ar
    bad = read(reply(responder, packet("web.service.consul", edns=1400, version=1)))
    assert bad.header.rcode + (bad.ar[0].edns_rcode << 4) == 16


def test_foreign_names_are_refused_without_recursors_and_so_are_other_classes() -> None:
    responder = make(crowd(1))
    assert rcode(reply(responder, packet("example.com"))) == "REFUSED"
    chaos = dnslib.DNSRecord(q=dnslib.DNSQuestion("version.bind", 16, 3)).pack()
    assert rcode(reply(responder, bytes(chaos))) == "REFUSED"


def test_transfers_and_other_opcodes_are_not_implemented() -> None:
    responder = make(crowd(1))
    assert rcode(reply(responder, packet("consul", "AXFR"), Via.TCP)) == "NOTIMP"
    assert rcode(reply(responder, packet("consul", "IXFR"))) == "NOTIMP"
    for opcode in range(1, 16):
        query = bytearray(packet("web.service.consul"))
        query[2] = opcode << 3
        found = reply(responder, bytes(query))
        assert rcode(found) == "NOTIMP"
        assert read(found).header.opcode == opcode


def header(questions: int = 1, *, flags: int = 0x0100, additional: int = 0) -> bytes:
    return bytes([0xAB, 0xCD, flags >> 8, flags & 0xFF, 0, questions, 0, 0, 0, 0, 0, additional])


@pytest.mark.parametrize(
    "malformed",
    [
        header(),
        header(0),
        header(2) + packet("a.b")[12:] * 2,
        header() + b"\x03web",
        header() + b"\xc0\x0c\x00\x01\x00\x01",
        header() + b"\x01a\xc0\x0c\x00\x01\x00\x01",
        header() + b"\xc0\xff\x00\x01\x00\x01",
        header() + b"\x80aaaa\x00\x00\x01\x00\x01",
        header()
        + b"\x3f"
        + b"a" * 63
        + b"\x3f"
        + b"b" * 63
        + b"\x3f"
        + b"c" * 63
        + b"\x3f"
        + b"d" * 63
        + b"\0\0\1\0\1",
        header(additional=1) + packet("a.b")[12:],
        header(additional=2) + packet("a.b", edns=512)[12:] + packet("a.b", edns=512)[-11:],
        header(additional=1) + packet("a.b")[12:] + b"\x00\x00\x29\x02\x00\x00\x00\x00\x00\x00\x03\x00\x0a\x00",
        packet("a.b") + b"\0" * 5000,
    ],
)
def test_a_malformed_packet_is_formerr_with_its_id(malformed: bytes) -> None:
    found = reply(make(crowd(1)), malformed)
    assert rcode(found) == "FORMERR"
    assert found[:2] == malformed[:2]


@pytest.mark.parametrize("silent", [b"", b"\0" * 11, packet("web.service.consul")[:2] + b"\x81" + b"\0" * 30])
def test_stumps_and_responses_get_no_reply(silent: bytes) -> None:
    responder = make(crowd(1))
    out: list[bytes] = []
    assert responder.handle(silent, Via.UDP_LOCAL, out.append) is False
    assert out == []
    assert responder.stats.ignored == 1


def test_the_wire_cache_answers_equal_packets_in_turning_orders_with_their_own_ids() -> None:
    lookup = crowd(10)
    responder = make(lookup)
    first = {data(reply(responder, packet("web.service.consul", edns=1232, number=n)))[0] for n in range(10)}
    assert len(first) == 10
    assert lookup.asked == 1
    assert responder.stats.cached == 9
    assert reply(responder, packet("web.service.consul", edns=1232, number=77))[:2] == b"\0\x4d"


def test_a_change_of_the_registry_drops_ready_replies_at_once() -> None:
    lookup = crowd(3)
    responder = make(lookup)
    query = packet("web.service.consul")
    assert len(data(reply(responder, query))) == 3
    lookup.services["web"] = lookup.services["web"][:1]
    lookup.changed()
    assert data(reply(responder, query)) == ["10.0.0.1"]
    lookup.services["web"] = ()
    lookup.changed()
    assert rcode(reply(responder, query)) == "NXDOMAIN"


def test_ready_replies_live_for_their_ttl_and_never_long() -> None:
    async def scenario() -> None:
        lookup, clock = crowd(3), ManualClock()
        responder = make(lookup, clock, service_ttl_s={"web": 2})
        query, other = packet("web.service.consul"), packet("n1.node.consul")
        reply(responder, query)
        reply(responder, other)
        await clock.advance(1.9)
        assert responder.ready(query, Via.UDP_LOCAL) is not None
        await clock.advance(0.1)
        assert responder.ready(query, Via.UDP_LOCAL) is None
        assert responder.ready(other, Via.UDP_LOCAL) is not None
        await clock.advance(5)
        assert responder.ready(other, Via.UDP_LOCAL) is None

    asyncio.run(scenario())


def test_transports_with_other_limits_do_not_share_ready_replies() -> None:
    responder = make(crowd(300))
    query = packet("web.service.consul", edns=4096)
    assert len(reply(responder, query, Via.UDP_LOCAL)) > 1232
    assert len(reply(responder, query, Via.UDP_REMOTE)) <= 1232
    assert len(data(reply(responder, query, Via.TCP))) == 300


def test_reload_changes_answers_that_were_ready() -> None:
    responder = make(crowd(3))
    query = packet("web.service.consul")
    reply(responder, query)
    responder.reload(make_zone(DnsSettings(domain="other"), "agent1", "dc1"), None)
    assert rcode(reply(responder, query)) == "REFUSED"


def test_what_is_unknown_is_fetched_once_for_all_that_ask() -> None:
    async def scenario() -> None:
        lookup = FakeLookup(known=False)
        lookup.services["web"] = (instance("web", 0),)
        lookup.gate = asyncio.Event()
        responder = make(lookup)
        out: list[bytes] = []
        for number in range(20):
            responder.handle(packet("web.service.consul", number=number), Via.UDP_LOCAL, out.append)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert out == []
        lookup.gate.set()
        async with asyncio.timeout(5):
            while len(out) < 20:
                await asyncio.sleep(0)
        assert lookup.fetches == [("health", "web")]
        assert {tuple(data(one)) for one in out} == {("10.0.0.1",)}
        await responder.close()

    asyncio.run(scenario())


def test_a_fetch_that_fails_is_servfail() -> None:
    async def scenario() -> None:
        lookup = FakeLookup(known=False)
        lookup.broken = True
        responder = make(lookup)
        out: list[bytes] = []
        responder.handle(packet("web.service.consul"), Via.UDP_LOCAL, out.append)
        async with asyncio.timeout(5):
            while not out:
                await asyncio.sleep(0)
        assert rcode(out[0]) == "SERVFAIL"
        await responder.close()

    asyncio.run(scenario())


def test_a_fetch_that_hangs_is_servfail_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder_module, "FETCH_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        lookup = FakeLookup(known=False)
        lookup.gate = asyncio.Event()
        responder = make(lookup)
        done = asyncio.get_running_loop().create_future()
        responder.handle(packet("web.service.consul"), Via.UDP_LOCAL, done.set_result)
        assert rcode(await asyncio.wait_for(done, 5)) == "SERVFAIL"
        await responder.close()

    asyncio.run(scenario())


def test_over_the_bound_of_pending_queries_clients_are_told_at_once() -> None:
    async def scenario() -> None:
        lookup = FakeLookup(known=False)
        lookup.gate = asyncio.Event()
        responder = make(lookup)
        out: list[bytes] = []
        for number in range(responder_module.PENDING_MAX + 10):
            responder.handle(packet("web.service.consul", number=number), Via.UDP_LOCAL, out.append)
        assert len(out) == 10
        assert {rcode(one) for one in out} == {"SERVFAIL"}
        assert responder.stats.overloads == 10
        await responder.close()

    asyncio.run(scenario())


class Faulty(FakeLookup):
    def instances(self, service: str, *, connect: bool) -> Any:
        raise KeyError("a bug")


def test_a_bug_in_one_answer_is_servfail_and_the_server_goes_on() -> None:
    lookup = Faulty()
    lookup.nodes["n1"] = Node(node="n1", address="10.0.0.2")
    responder = make(lookup)
    assert rcode(reply(responder, packet("web.service.consul"))) == "SERVFAIL"
    assert data(reply(responder, packet("n1.node.consul"))) == ["10.0.0.2"]


def test_an_alias_inside_the_domain_brings_its_addresses() -> None:
    async def scenario() -> None:
        lookup = crowd(2)
        lookup.services["front"] = (instance("front", 9, address="web.service.consul"),)
        responder = make(lookup)
        done = asyncio.get_running_loop().create_future()
        responder.handle(packet("front.service.consul", edns=1232), Via.UDP_LOCAL, done.set_result)
        found = data(await asyncio.wait_for(done, 5))
        assert found[0] == "web.service.consul."
        assert sorted(found[1:]) == ["10.0.0.1", "10.0.0.2"]
        await responder.close()

    asyncio.run(scenario())


def test_an_alias_of_itself_ends() -> None:
    async def scenario() -> None:
        lookup = FakeLookup()
        lookup.services["ring"] = (instance("ring", 9, address="ring.service.consul"),)
        responder = make(lookup)
        done = asyncio.get_running_loop().create_future()
        responder.handle(packet("ring.service.consul", edns=1232), Via.UDP_LOCAL, done.set_result)
        assert 1 <= len(data(await asyncio.wait_for(done, 5))) <= 4
        await responder.close()

    asyncio.run(scenario())


LABEL = st.one_of(
    st.sampled_from(
        [b"web", b"service", b"consul", b"_web", b"_tcp", b"node", b"n1", b"addr", b"arpa", b"ip6", b"dc1"]
    ),
    st.binary(min_size=1, max_size=63),
)


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    labels = draw(st.lists(LABEL, max_size=8))
    if draw(st.booleans()):
        labels.append(b"consul")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    kind, klass = draw(st.integers(0, 300)), draw(st.sampled_from([1, 255, 3]))
    body = name + kind.to_bytes(2, "big") + klass.to_bytes(2, "big")
    tail = draw(st.one_of(st.just(b""), st.just(packet("a", edns=1232)[-11:]), st.binary(max_size=40)))
    return header(1, flags=draw(st.integers(0, 0x7FFF)), additional=int(bool(tail))) + body + tail


def survives(raw: bytes) -> None:
    lookup = crowd(5)
    responder = make(lookup)
    for via in Via:
        out: list[bytes] = []
        answered = responder.handle(raw, via, out.append)
        assert len(out) == answered
        assert responder.stats.failures == 0
        for one in out:
            assert one[:2] == raw[:2]
            assert len(one) <= 65_535
            assert one[2] & 0x80
            read(one) if rcode_is_plain(one) else None


def rcode_is_plain(one: bytes) -> bool:
    """dnslib's own reader refuses labels that are not UTF-8, which our replies repeat."""
    return not any(byte > 0x7F for byte in one[12:])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_no_bytes_crash_it(raw: bytes) -> None:
    survives(raw)


@settings(max_examples=300, deadline=None)
@given(queries())
def test_no_query_crashes_it(raw: bytes) -> None:
    survives(raw)


@settings(max_examples=200, deadline=None)
@given(queries(), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_no_damage_to_a_query_crashes_it(raw: bytes, at: int, junk: bytes) -> None:
    survives(raw[:at] + junk + raw[at + len(junk) :])


@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_each_turn_of_a_service_too_large_for_a_reply_shows_others(kind: str) -> None:
    responder = make(crowd(2000))
    asked = packet("web.service.consul", kind)
    shown = [frozenset(data(reply(responder, asked))) for _ in range(32)]
    assert all(len(each) == 3 for each in shown)
    assert len(frozenset.union(*shown)) >= 40
    assert shown[:16] == shown[16:]
    assert responder.stats.cached == 31
