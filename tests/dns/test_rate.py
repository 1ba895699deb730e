from __future__ import annotations

import dnslib
import pytest

from chowk.dns import rate
from chowk.dns.codec import slip
from chowk.dns.rate import RateLimiter, Verdict, kind_of
from chowk.dns.settings import RateSettings
from support.dns_wire import packet, read

ANSWER = bytes.fromhex("1234 8400 0001 0001 0000 0000")
NO_NAME = bytes.fromhex("1234 8403 0001 0000 0001 0000")
NO_DATA = bytes.fromhex("1234 8400 0001 0000 0001 0000")
REFUSAL = bytes.fromhex("1234 8005 0001 0000 0000 0000")


def limiter(**fields: object) -> RateLimiter:
    return RateLimiter(RateSettings(**{"per_second": 10, **fields}))  # type: ignore[arg-type]


def sent(limits: RateLimiter, host: str, reply: bytes = ANSWER, *, now: float = 0.0, count: int = 100) -> int:
    return [limits.judge(host, reply, now) for _ in range(count)].count(Verdict.SEND)


def test_a_network_gets_its_rate_and_no_more() -> None:
    limits = limiter()
    assert sent(limits, "192.0.2.1") == 10
    assert sent(limits, "192.0.2.200") == 0
    assert sent(limits, "192.0.3.1") == 10
    assert sent(limits, "192.0.2.1", now=0.5) == 5
    assert sent(limits, "192.0.2.1", now=60.0) == 10


def test_networks_of_ipv6_are_56_bits_and_mapped_addresses_are_ipv4() -> None:
    limits = limiter()
    assert sent(limits, "2001:db8:0:100::1") == 10
    assert sent(limits, "2001:db8:0:1ff::2") == 0
    assert sent(limits, "2001:db8:0:200::1") == 10
    assert sent(limits, "fe80::1%eth0") == 10
    assert sent(limits, "192.0.2.1") == 10
    assert sent(limits, "::ffff:192.0.2.9") == 0


def test_each_kind_of_reply_has_a_rate_of_its_own() -> None:
    limits = limiter()
    assert [kind_of(reply) for reply in (ANSWER, NO_NAME, NO_DATA, REFUSAL)] == [
        "answer",
        "negative",
        "negative",
        "error",
    ]
    assert sent(limits, "192.0.2.1", NO_NAME) == 10
    assert sent(limits, "192.0.2.1", NO_DATA) == 0
    assert sent(limits, "192.0.2.1", ANSWER) == 10
    assert sent(limits, "192.0.2.1", REFUSAL) == 10


@pytest.mark.parametrize(("slip_each", "wanted"), [(0, 0), (1, 90), (2, 45), (3, 30)])
def test_beyond_the_rate_some_are_truncated_and_the_others_dropped(slip_each: int, wanted: int) -> None:
    limits = limiter(slip=slip_each)
    verdicts = [limits.judge("192.0.2.1", ANSWER, 0.0) for _ in range(100)]
    assert verdicts.count(Verdict.TRUNCATE) == wanted
    assert verdicts.count(Verdict.DROP) == 90 - wanted


def test_loopback_is_exempt_unless_told_otherwise_and_0_is_no_limit() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert sent(limiter(), host) == 100
        assert sent(limiter(exempt=()), host) == 10
    assert not limiter().limits_loopback
    assert limiter(exempt=("127.0.0.0/8",)).limits_loopback
    assert not limiter(exempt=(), per_second=0).limits_loopback
    assert sent(limiter(exempt=("10.0.0.0/8",)), "10.1.2.3") == 100
    assert sent(limiter(per_second=0), "192.0.2.1") == 100


def test_the_networks_that_are_told_apart_are_bounded() -> None:
    limits = limiter(per_second=1)
    for number in range(rate.BUCKETS_MAX + 10):
        limits.judge(f"10.{number >> 8 & 255}.{number & 255}.1", ANSWER, 0.0)
    assert limits.judge("10.0.200.1", ANSWER, 0.0) is not Verdict.SEND
    assert limits.judge("10.0.0.1", ANSWER, 0.0) is Verdict.SEND  # the first one was forgotten


@pytest.mark.parametrize("edns", [None, 1232])
def test_a_truncated_reply_holds_the_question_alone(edns: int | None) -> None:
    query = packet("web.service.consul", "SRV", edns=edns)
    record = read(query)
    reply = record.reply(aa=1)
    reply.add_answer(*dnslib.RR.fromZone("web.service.consul. 60 A 10.0.0.1"))
    if edns:
        reply.add_ar(*record.ar)
    cut = slip(query, bytes(reply.pack()))
    found = read(cut)
    assert (found.header.id, found.header.qr, found.header.tc, found.header.aa) == (0x1234, 1, 1, 1)
    assert (str(found.q.qname), found.rr, found.auth) == ("web.service.consul.", [], [])
    assert [each.rtype for each in found.ar] == ([41] if edns else [])
    assert len(cut) <= len(query)


def test_an_error_without_a_question_is_truncated_to_its_header() -> None:
    bare = bytes.fromhex("1234 8001 0000 0000 0000 0000")
    assert slip(b"\x12\x34" + bytes(10), bare) == bytes.fromhex("1234 8201 0000 0000 0000 0000")
