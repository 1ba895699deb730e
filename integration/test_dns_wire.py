"""DNS on the wire, of a real agent: what dig and kdig can be made to send, packets that no client should send, what the
wire cache must not mix up, large services, and limits. Names and forms are in test_dns.py."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Iterator

import dnslib
import pytest

from harness.agent import AgentProcess
from harness.dig import dig
from harness.mesh import sidecar_ports
from harness.waiting import eventually

LARGE = 3000
OPERATIONS = 30
HEADER = struct.Struct("!HHHHHH")
WEB = ["127.0.1.1", "127.0.1.2"]


def configuration(dns: str = "") -> str:
    low, high = sidecar_ports()
    return f"""
    ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}
    dns_config {{ {dns} }}
    services {{ id = "web-1", name = "web", port = 81, address = "127.0.1.1", tags = ["a.b", "Größe"] }}
    services {{ id = "web-2", name = "web", port = 82, address = "127.0.1.2"
      check {{ id = "w2", ttl = "1h", status = "passing" }} }}
    services {{ name = "other", port = 83, address = "127.0.1.3" }}
    """


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("wire"), configuration("enable_truncate = true")) as agent:
        for start in range(0, LARGE, OPERATIONS):
            agent.put("/v1/txn", [one for number in range(start, start + OPERATIONS) for one in operations(number)])
        eventually(lambda: len(agent.passing("large")) == LARGE, "the large service is in the catalog", 30)
        eventually(lambda: len(agent.passing("web")) == 2 and agent.passing("other"), "the services pass")
        yield agent
        assert "dns query failed" not in agent.log_path.read_text()


def operations(number: int) -> list[dict[str, object]]:
    name = f"far{number}"
    node = {"Node": name, "Address": f"10.8.{number // 250}.{number % 250 + 1}"}
    service = {"Service": "large", "ID": f"large-{number}", "Port": 8080}
    return [{"Node": {"Verb": "set", "Node": node}}, {"Service": {"Verb": "set", "Node": name, "Service": service}}]


def raw(agent: AgentProcess, packet: bytes) -> bytes:
    """The reply over UDP to any bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(packet, ("127.0.0.1", agent.dns_port))
        return udp.recv(65_536)


def is_ignored(agent: AgentProcess, packet: bytes) -> bool:
    """Is the first thing that comes back the answer to a later query?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        for one in (packet, question("web.service.consul", number=77)):
            udp.sendto(one, ("127.0.0.1", agent.dns_port))
        return udp.recv(65_536)[:2] == b"\0\x4d"


def question(name: str, kind: str = "A", *, number: int = 1) -> bytes:
    return bytes(
        dnslib.DNSRecord(
            dnslib.DNSHeader(id=number, rd=1), q=dnslib.DNSQuestion(name, getattr(dnslib.QTYPE, kind))
        ).pack()
    )


def rcode(reply: bytes) -> str:
    return str(dnslib.RCODE.get(reply[3] & 0xF))


@pytest.mark.parametrize("program", ["dig", "kdig"])
@pytest.mark.parametrize(
    "options",
    [["+tcp"], ["+noedns"], ["+bufsize=4096"], ["+dnssec"], ["+nsid"], ["+subnet=192.0.2.0/24"], ["+norecurse"],
     ["+cdflag"], ["+adflag"], ["+cookie"], ["+cookie=0123456789abcdef0123456789abcdef"], ["+padding=128"]],
)  # fmt: skip
def test_whatever_a_client_adds_the_answer_is_the_same(agent: AgentProcess, program: str, options: list[str]) -> None:
    if program == "kdig" and options == ["+noedns"]:
        options = ["+noedns", "+nocookie"]
    for _ in range(2):
        reply = dig(agent, "web.service.consul", "A", *options, program=program)
        assert (reply.status, reply.data(kind="A")) == ("NOERROR", WEB)
        assert "aa" in reply.flags
        assert ("rd" in reply.flags) is (options != ["+norecurse"])
        assert ("cd" in reply.flags) is (options == ["+cdflag"])


def test_a_later_version_of_edns_is_badvers(agent: AgentProcess) -> None:
    assert dig(agent, "web.service.consul", "+edns=1", "+noednsnegotiation").status == "BADVERS"
    assert dig(agent, "web.service.consul", "+edns=1", program="kdig").status == "BADVERS"


def test_an_option_nobody_knows_is_no_error(agent: AgentProcess) -> None:
    assert dig(agent, "web.service.consul", "+ednsopt=65001:abcdef").data() == WEB
    assert dig(agent, "web.service.consul", "+ednsopt=65001:abcdef", program="kdig").data() == WEB


@pytest.mark.parametrize("opcode", range(1, 16))
def test_an_opcode_that_is_no_query_is_notimp(agent: AgentProcess, opcode: int) -> None:
    packet = bytearray(question("web.service.consul"))
    packet[2] |= opcode << 3
    reply = raw(agent, bytes(packet))
    assert rcode(reply) == "NOTIMP"
    assert reply[2] >> 3 & 0xF == opcode


@pytest.mark.parametrize("kind", ["TXT", "A"])
@pytest.mark.parametrize("name", ["version.bind", "web.service.consul"])
def test_other_classes_are_refused(agent: AgentProcess, name: str, kind: str) -> None:
    for program in ("dig", "kdig"):
        assert dig(agent, "-c", "CH", "-t", kind, name, program=program).status == "REFUSED"
    assert dig(agent, "-c", "HS", name, kind).status == "REFUSED"


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize("name", ["consul", "web.service.consul", "example.test"])
def test_zones_are_not_handed_out(agent: AgentProcess, transport: str, name: str) -> None:
    packet = question(name, "AXFR")
    if transport == "+notcp":
        reply = raw(agent, packet)
    else:
        with socket.create_connection(("127.0.0.1", agent.dns_port), timeout=5) as tcp:
            tcp.sendall(len(packet).to_bytes(2, "big") + packet)
            reply = tcp.recv(4096)[2:]
    assert rcode(reply) in ("NOTIMP", "REFUSED")
    assert reply[6:8] == b"\0\0"


@pytest.mark.parametrize("count", [0, 2, 9, 65_535])
def test_not_exactly_one_question_is_formerr(agent: AgentProcess, count: int) -> None:
    body = question("web.service.consul")[12:] * min(count, 9)
    reply = raw(agent, HEADER.pack(5, 0x0100, count, 0, 0, 0) + body)
    assert rcode(reply) == "FORMERR"
    assert reply[:2] == b"\0\5"


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\x01a\xc0\x0c", b"\xff\xff", b"\xc0\xff", b"\x40a\0", b"\x80a\0", b"\x05ab",
     b"\x3f" + b"a" * 63 + b"\xc0\x0c", (b"\x01a" * 127) + b"\x01a\0", b"", b"\xc0"],
)  # fmt: skip
def test_names_that_loop_run_out_or_are_too_long_are_formerr(agent: AgentProcess, name: bytes) -> None:
    assert rcode(raw(agent, HEADER.pack(5, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1")) == "FORMERR"


@pytest.mark.parametrize(
    "packet",
    [b"", b"\0", bytes(11), HEADER.pack(9, 0x8180, 1, 0, 0, 0) + question("web.service.consul")[12:]],
)
def test_stumps_and_responses_get_no_reply(agent: AgentProcess, packet: bytes) -> None:
    assert is_ignored(agent, packet)


@pytest.mark.parametrize(
    "labels",
    [
        [b"\xff\xfe", b"service", b"consul"],
        ["größe".encode(), b"service", b"consul"],
        [b"xn--gre-6ka8i", b"service", b"consul"],
        [b"a b", b"service", b"consul"],
        [b"\0", b"service", b"consul"],
        [b"..", b"service", b"consul"],
        [b"*", b"service", b"consul"],
        [b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 45, b"service", b"consul"],
        [b"x"] * 119 + [b"service", b"consul"],
        [b"service", b"service", b"consul"],
    ],
)
def test_strange_names_are_names_that_nobody_has(agent: AgentProcess, labels: list[bytes]) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    assert len(name) <= 255
    for _ in range(2):
        reply = raw(agent, HEADER.pack(5, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1")
        assert rcode(reply) == "NXDOMAIN"
        assert reply[12 : 12 + len(name)] == name


def test_the_root_and_a_name_of_255_octets_elsewhere_are_refused(agent: AgentProcess) -> None:
    longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert len(longest) == 255
    for name in (b"\0", longest):
        assert rcode(raw(agent, HEADER.pack(5, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1")) == "REFUSED"


def test_tags_with_dots_and_letters_beyond_ascii_find_their_service(agent: AgentProcess) -> None:
    assert dig(agent, "a.b.web.service.consul").data() == ["127.0.1.1"]
    labels = ["Größe".encode(), b"web", b"service", b"consul"]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    reply = raw(agent, HEADER.pack(5, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1")
    # DNS folds ASCII letters alone (RFC 4343), the registry all of them: "ö" is the same in both.
    assert rcode(reply) == "NOERROR"


def test_the_question_comes_back_in_its_own_case_also_from_the_cache(agent: AgentProcess) -> None:
    rng = random.Random(20)
    for number in range(40):
        name = "".join(rng.choice((letter.lower(), letter.upper())) for letter in "web.service.consul")
        asked = question(name, "SRV", number=number)
        for _ in range(2):
            reply = raw(agent, asked)
            assert reply[12 : len(asked)] == asked[12:]
            record = dnslib.DNSRecord.parse(reply)
            assert {str(rr.rname) for rr in record.rr} == {f"{name}."}
            assert len(record.rr) == 2


def test_replies_of_clients_that_take_different_sizes_or_dnssec_are_not_mixed_up(agent: AgentProcess) -> None:
    wanted = {"+noedns": 3, "+bufsize=512": (512 - 50) // 16, "+bufsize=1232": (1232 - 50) // 16}
    for _ in range(5):
        for option, least in wanted.items():
            reply = dig(agent, option, "+nocookie", "large.service.consul")
            assert least <= len(reply.data()) <= least + 3
            assert "tc" in reply.flags
        assert len(dig(agent, "+tcp", "+nocookie", "large.service.consul").data()) == LARGE


@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_of_a_large_service_different_instances_are_shown_in_turn(agent: AgentProcess, kind: str) -> None:
    seen = {data for _ in range(30) for data in dig(agent, "+noedns", "large.service.consul", kind).data()}
    assert len(seen) >= 30
    whole = dig(agent, "+tcp", "large.service.consul", kind)
    assert whole.size <= 65_535
    assert len(whole.data()) == (LARGE if kind == "A" else pytest.approx(1150, abs=250))
    assert len(set(whole.data())) == len(whole.data())


def test_a_change_of_one_service_is_seen_at_once_and_leaves_others_ready(agent: AgentProcess) -> None:
    def cached() -> float:
        text = agent.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("chowk_dns_cached_total"))

    for status, wanted in (("fail", ["127.0.1.1"]), ("pass", WEB)):
        raw(agent, question("web.service.consul"))
        raw(agent, question("other.service.consul"))
        agent.put(f"/v1/agent/check/{status}/w2")
        eventually(lambda wanted=wanted: answers(agent) == wanted, "the change is seen", 5)
        before = cached()
        raw(agent, question("other.service.consul"))
        assert cached() == before + 1


def answers(agent: AgentProcess) -> list[str]:
    return sorted(str(rr.rdata) for rr in dnslib.DNSRecord.parse(raw(agent, question("web.service.consul"))).rr)


def test_a_connection_takes_many_queries_at_once_and_in_pieces(agent: AgentProcess) -> None:
    async def scenario() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", agent.dns_port)
        packets = [question(f"{name}.service.consul", kind, number=number)
                   for number, (name, kind) in enumerate([("web", "A"), ("large", "SRV"), ("none", "A")] * 100)]  # fmt: skip
        stream = b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets)
        rng = random.Random(7)
        while stream:
            cut = rng.randrange(1, 2000)
            writer.write(stream[:cut])
            stream = stream[cut:]
            await asyncio.sleep(0)
        found = set()
        for _ in packets:
            reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            found.add(int.from_bytes(reply[:2], "big"))
        assert found == set(range(len(packets)))
        writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_the_agent_answers_and_checks_on_while_it_is_flooded(agent: AgentProcess) -> None:
    rng = random.Random(9)
    packet = question("flood.service.consul")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        for number in range(20_000):
            try:
                udp.sendto(renamed(packet, rng), ("127.0.0.1", agent.dns_port))
            except BlockingIOError:
                pass
            if number % 4000 == 0:
                agent.put("/v1/agent/check/pass/w2")
                assert dig(agent, "+tcp", "web.service.consul").data() == WEB
    assert eventually(lambda: dig(agent, "web.service.consul").data() == WEB, "UDP is answered again")
    text = agent.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
    assert all(f'chowk_dns_dropped_total{{reason="{reason}"}}' in text for reason in ("late", "rate", "full"))
    assert "chowk_dns_queries_total" in text


def renamed(packet: bytes, rng: random.Random) -> bytes:
    """The same question of another name."""
    return packet[:13] + b"%04x" % rng.randrange(1 << 16) + packet[17:]


def test_over_the_rate_limit_clients_are_sent_to_tcp_and_reload_changes_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    limited = configuration("response_rate_limit { per_second = 1, exempt = [] }")
    with AgentProcess(tmp_path_factory.mktemp("limited"), limited) as agent:
        eventually(lambda: dig(agent, "+tcp", "web.service.consul").data() == WEB, "the service is known")
        replies = [dnslib.DNSRecord.parse(raw(agent, question("web.service.consul"))) for _ in range(30)]
        cut = [reply for reply in replies if reply.header.tc]
        assert 15 <= len(cut) < 30
        assert all(reply.rr == [] for reply in cut)
        assert all(dig(agent, "web.service.consul", "+noignore").data() == WEB for _ in range(15))
        agent.write("main.hcl", configuration("response_rate_limit { per_second = 0 }, only_passing = true"))
        agent.put("/v1/agent/check/warn/w2")
        agent.put("/v1/agent/reload")
        eventually(lambda: dig(agent, "web.service.consul").data() == WEB[:1], "only_passing counts after a reload")
        assert not any("tc" in dig(agent, "web.service.consul").flags for _ in range(15))
        wrong = 'response_rate_limit { exempt = ["nowhere"] }'
        agent.write("main.hcl", configuration(wrong))
        status, _headers, body = agent.request("PUT", "/v1/agent/reload")
        assert status != 200
        assert b"nowhere" in body
