"""Our packer against dnslib's reader."""

from __future__ import annotations

import random

import dnslib

from chowk.dns.packer import Packer
from chowk.dns.records import (
    AddressRecord,
    AliasRecord,
    AuthorityRecord,
    NameServerRecord,
    PointerRecord,
    ResourceRecord,
    ServiceRecord,
    TextRecord,
    name_of,
)

WEB, NODE = name_of("web.service.consul"), name_of("n1.node.dc1.consul")


def test_every_kind_of_record_is_read_back_by_dnslib() -> None:
    records: list[ResourceRecord] = [
        AddressRecord(WEB, 7, bytes((10, 0, 0, 1))),
        AddressRecord(WEB, 7, bytes(15) + b"\1"),
        AliasRecord(WEB, 8, NODE),
        PointerRecord(WEB, 9, NODE),
        NameServerRecord(WEB, 10, NODE),
        ServiceRecord(WEB, 11, 1, 5, 8080, NODE),
        TextRecord(WEB, 12, (b"a=b", b"x" * 255)),
        AuthorityRecord(
            name=name_of("consul"), ttl_s=13, primary=name_of("ns.consul"), mailbox=name_of("hostmaster.consul"),
            serial=1, refresh_s=2, retry_s=3, expire_s=4, min_ttl_s=5,
        ),
    ]  # fmt: skip
    packer = Packer(7, 0x8400, (1, len(records), 0, 1))
    packer.question(WEB, 255, 1)
    packer.records(records)
    packer.options(1232, extended_rcode=1, dnssec_ok=True)
    found = dnslib.DNSRecord.parse(bytes(packer.data))
    assert [(rr.rtype, rr.ttl, str(rr.rdata)) for rr in found.rr] == [
        (1, 7, "10.0.0.1"),
        (28, 7, "::1"),
        (5, 8, "n1.node.dc1.consul."),
        (12, 9, "n1.node.dc1.consul."),
        (2, 10, "n1.node.dc1.consul."),
        (33, 11, "1 5 8080 n1.node.dc1.consul."),
        (16, 12, '"a=b","' + "x" * 255 + '"'),
        (6, 13, "ns.consul. hostmaster.consul. 1 2 3 4 5"),
    ]
    assert (found.ar[0].rclass, found.ar[0].ttl) == (1232, 1 << 24 | 0x8000)
    assert bytes(packer.data).count(b"\3web") == 1
    assert bytes(packer.data).count(b"\4node") == 1


def test_names_stay_right_beyond_what_pointers_reach() -> None:
    rng = random.Random(3)
    names = [(b"n%d" % rng.randrange(4000), b"x" * rng.randrange(1, 40), b"node", b"consul") for _ in range(1500)]
    packer = Packer(1, 0x8400, (0, len(names), 0, 0))
    packer.records(AliasRecord(name, 0, names[-1]) for name in names)
    assert len(packer.data) > 0x4000
    found = dnslib.DNSRecord.parse(bytes(packer.data))
    assert [tuple(rr.rname.label) for rr in found.rr] == names
    assert {tuple(rr.rdata.label.label) for rr in found.rr} == {names[-1]}
