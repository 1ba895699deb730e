"""DNS as `dig` sees it, of a real agent, over UDP and TCP: every form of names, the limits, refusals, recursors, garbage.
The agent answers itself, or two workers do: there is no difference."""

from __future__ import annotations

import ipaddress
import random
import socket
import subprocess
import threading
from collections.abc import Iterator

import dnslib
import pytest

from harness.agent import AgentProcess
from harness.counters import dns_counters
from harness.dig import dig
from harness.mesh import sidecar_ports
from harness.waiting import eventually

FOREIGN = {"www.example.test.": "192.0.2.7", "db.example.test.": "192.0.2.8"}
MANY = 40
TRANSPORTS = pytest.mark.parametrize("transport", ["+notcp", "+tcp"])


class Resolver:
    """A recursor on loopback: it knows FOREIGN and a PTR, and NXDOMAIN for the rest; `asked` are the names it saw."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Resolver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                packet, client = self._socket.recvfrom(4096)
            except OSError:
                return
            try:
                request = dnslib.DNSRecord.parse(packet)
            except dnslib.DNSError:  # a name that is no text, of the malformed packets
                continue
            name = str(request.q.qname)
            self.asked.append(name)
            reply = request.reply(aa=0)
            if name in FOREIGN and request.q.qtype == dnslib.QTYPE.A:
                reply.add_answer(dnslib.RR(name, dnslib.QTYPE.A, rdata=dnslib.A(FOREIGN[name]), ttl=60))
            elif name == "9.2.0.192.in-addr.arpa.":
                reply.add_answer(dnslib.RR(name, dnslib.QTYPE.PTR, rdata=dnslib.PTR("far.example.test"), ttl=60))
            elif name not in FOREIGN:
                reply.header.rcode = dnslib.RCODE.NXDOMAIN
            self._socket.sendto(reply.pack(), client)


def configuration(recursor: int, workers: int) -> str:
    low, high = sidecar_ports()
    many = "\n".join(
        f'services {{ id = "many-{number}", name = "many", port = {1000 + number}, address = "127.0.2.{number}" }}'
        for number in range(1, MANY + 1)
    )
    return f"""
    ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}
    recursors = ["127.0.0.1:{recursor}"]
    alt_domain = "mesh.test"
    node_meta {{ rack = "r12" }}
    dns_config {{ workers = {workers}, enable_truncate = true, service_ttl {{ "web" = "7s" }} }}
    services {{ id = "web-1", name = "web", port = 81, address = "127.0.1.1"
      tags = ["v1", "eu.west"], weights {{ passing = 5, warning = 2 }} }}
    services {{ id = "web-2", name = "web", port = 82, address = "127.0.1.2", tags = ["v2"] }}
    services {{ id = "web-3", name = "web", port = 83, address = "127.0.1.3"
      check {{ id = "w3", ttl = "1h", status = "critical" }} }}
    services {{ id = "web-4", name = "web", port = 84, address = "127.0.1.4"
      check {{ id = "w4", ttl = "1h", status = "warning" }} }}
    services {{ name = "here", port = 90 }}
    services {{ name = "six", port = 91, address = "::1" }}
    services {{ name = "down", port = 92, check {{ id = "down", ttl = "1h", status = "critical" }} }}
    services {{ name = "alias", port = 93, address = "db.example.test" }}
    services {{ name = "api", port = 94, connect {{ sidecar_service {{ }} }} }}
    {many}
    """


@pytest.fixture(scope="module")
def resolver() -> Iterator[Resolver]:
    with Resolver() as resolver:
        yield resolver


@pytest.fixture(scope="module", params=[0, 2], ids=["agent", "workers"])
def agent(
    resolver: Resolver, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[AgentProcess]:
    workers: int = request.param
    with AgentProcess(tmp_path_factory.mktemp("dns"), configuration(resolver.port, workers)) as agent:
        eventually(lambda: dns_counters(agent).get("chowk_dns_workers", 0) == workers, "the workers answer")
        eventually(lambda: len(agent.passing("many")) == MANY, "the services are in the catalog")
        eventually(lambda: len(agent.passing("api-sidecar-proxy")) == 1, "the sidecar passes")
        eventually(lambda: agent.get("/v1/health/service/alias"), "all are there")
        yield agent


WEB = ["127.0.1.1", "127.0.1.2", "127.0.1.4"]


@TRANSPORTS
@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("web.service.consul", "A", WEB),
        ("web.service.dc1.consul", "A", WEB),
        ("WEB.Service.CONSUL", "A", WEB),
        ("web.service.mesh.test", "A", WEB),
        ("v1.web.service.consul", "A", ["127.0.1.1"]),
        ("eu.west.web.service.consul", "A", ["127.0.1.1"]),
        ("_web._v2.service.consul", "A", ["127.0.1.2"]),
        ("six.service.consul", "AAAA", ["::1"]),
        ("host1.node.consul", "A", ["127.0.0.1"]),
        ("host1.node.dc1.consul", "A", ["127.0.0.1"]),
        ("host1.node.consul", "TXT", ['"rack=r12"']),
        ("7f000105.addr.dc1.consul", "A", ["127.0.1.5"]),
        ("00000000000000000000000000000001.addr.consul", "AAAA", ["::1"]),
        ("api.connect.consul", "A", ["127.0.0.1"]),
        ("here.service.consul", "SRV", ["1 1 90 host1.node.dc1.consul."]),
    ],
)
def test_a_form_of_name_is_answered(
    agent: AgentProcess, transport: str, name: str, kind: str, wanted: list[str]
) -> None:
    reply = dig(agent, transport, name, kind)
    assert reply.status == "NOERROR"
    assert "aa" in reply.flags
    assert reply.data() == wanted


@TRANSPORTS
@pytest.mark.parametrize("name", ["web.service.consul", "_web._tcp.service.consul", "_web._tcp.consul"])
def test_srv_has_port_weight_and_targets_with_their_addresses(agent: AgentProcess, transport: str, name: str) -> None:
    reply = dig(agent, transport, name, "SRV")
    targets = [f"7f00010{number}.addr.dc1.consul." for number in (1, 2, 4)]
    assert reply.data() == sorted([f"1 5 81 {targets[0]}", f"1 1 82 {targets[1]}", f"1 1 84 {targets[2]}"])
    assert reply.data("ADDITIONAL", "A") == WEB
    assert {found for found, _kind, _data in reply.sections["ADDITIONAL"]} == set(targets)


def test_a_virtual_name_has_one_address_of_the_reserved_range(agent: AgentProcess) -> None:
    (address,) = dig(agent, "api.virtual.consul", "A").data()
    assert ipaddress.ip_address(address) in ipaddress.ip_network("240.0.0.0/4")
    assert dig(agent, "+tcp", "API.virtual.dc1.consul", "A").data() == [address]


def test_the_sidecar_has_the_port_of_a_connect_name(agent: AgentProcess) -> None:
    port = agent.get("/v1/agent/service/api-sidecar-proxy")["Port"]
    assert dig(agent, "api.connect.consul", "SRV").data() == [f"1 1 {port} host1.node.dc1.consul."]


def test_reverse_names_lead_to_nodes_then_services_then_the_recursors(agent: AgentProcess) -> None:
    assert dig(agent, "-x", "127.0.0.1").data() == ["host1.node.dc1.consul."]
    assert dig(agent, "-x", "127.0.1.2").data() == ["web.service.dc1.consul."]
    assert dig(agent, "-x", "192.0.2.9").data() == ["far.example.test."]


@TRANSPORTS
@pytest.mark.parametrize(
    "name",
    ["nothing.service.consul", "nobody.node.consul", "down.service.consul", "v9.web.service.consul", "x.query.consul",
     "web.service.dc9.consul", "a.b.c.consul", "7f00.addr.consul"],
)  # fmt: skip
def test_what_is_not_there_is_nxdomain_with_the_soa(agent: AgentProcess, transport: str, name: str) -> None:
    reply = dig(agent, transport, name, "A")
    assert reply.status == "NXDOMAIN"
    assert reply.data() == []
    ((owner, kind, soa),) = reply.sections["AUTHORITY"]
    assert (owner, kind) == ("consul.", "SOA")
    assert soa.split()[:2] == ["ns.consul.", "hostmaster.consul."]
    assert soa.split()[3:] == ["3600", "600", "86400", "0"]


@pytest.mark.parametrize(
    ("name", "kind"), [("web.service.consul", "AAAA"), ("web.service.consul", "MX"), ("service.consul", "A")]
)
def test_a_name_that_is_there_without_that_type_is_noerror_with_the_soa(
    agent: AgentProcess, name: str, kind: str
) -> None:
    reply = dig(agent, name, kind)
    assert reply.status == "NOERROR"
    assert reply.data() == []
    assert reply.data("AUTHORITY", "SOA")


def test_the_domain_itself_has_soa_and_ns(agent: AgentProcess) -> None:
    assert dig(agent, "consul", "SOA").data()[0].startswith("ns.consul. hostmaster.consul. ")
    assert dig(agent, "consul", "NS").data() == ["host1.node.dc1.consul."]


def test_ttls_are_those_of_the_configuration(agent: AgentProcess) -> None:
    command = ["dig", "@127.0.0.1", "-p", str(agent.dns_port), "+noall", "+answer", "web.service.consul", "+nocookie"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    assert {line.split()[1] for line in lines} == {"7"}
    lines = subprocess.run(
        [*command, "here.service.consul"], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert lines.splitlines()[-1].split()[1] == "0"


def test_plain_udp_has_512_bytes_and_three_answers(agent: AgentProcess) -> None:
    for kind in ("A", "SRV"):
        reply = dig(agent, "+noedns", "many.service.consul", kind)
        assert 0 < reply.size <= 512
        assert len(reply.data()) == 3
        assert "tc" in reply.flags


@pytest.mark.parametrize("size", [512, 700, 1232])
def test_with_edns_a_reply_has_the_size_the_client_takes(agent: AgentProcess, size: int) -> None:
    reply = dig(agent, f"+bufsize={size}", "many.service.consul", "SRV")
    assert reply.size <= size
    assert 0 < len(reply.data()) < MANY
    assert "tc" in reply.flags


def test_tcp_has_all_of_it(agent: AgentProcess) -> None:
    reply = dig(agent, "+tcp", "many.service.consul", "SRV")
    assert len(reply.data()) == MANY
    assert len(reply.data("ADDITIONAL", "A")) == MANY
    assert "tc" not in reply.flags


def test_answers_take_turns(agent: AgentProcess) -> None:
    firsts = {dig(agent, "+nocookie", "many.service.consul", "A").sections["ANSWER"][0][2] for _ in range(30)}
    assert len(firsts) >= 8


@TRANSPORTS
def test_other_names_are_asked_of_the_recursor(agent: AgentProcess, transport: str) -> None:
    reply = dig(agent, transport, "www.example.test", "A")
    assert reply.data() == ["192.0.2.7"]
    assert "ra" in reply.flags
    assert dig(agent, transport, "gone.example.test", "A").status == "NXDOMAIN"


def test_a_host_name_of_a_service_is_an_alias_that_is_followed(agent: AgentProcess) -> None:
    reply = dig(agent, "alias.service.consul", "A")
    assert reply.data(kind="CNAME") == ["db.example.test."]
    assert reply.data(kind="A") == ["192.0.2.8"]


def test_our_own_names_never_go_to_the_recursor(agent: AgentProcess, resolver: Resolver) -> None:
    for name in ("secret.service.consul", "secret.consul", "web.service.dc9.consul"):
        dig(agent, name)
    assert not [name for name in resolver.asked if name.endswith(("consul.", "mesh.test."))]


@TRANSPORTS
def test_a_zone_transfer_is_not_implemented(agent: AgentProcess, transport: str) -> None:
    packet = dnslib.DNSRecord.question("consul", "AXFR").pack()
    if transport == "+tcp":
        with socket.create_connection(("127.0.0.1", agent.dns_port), timeout=5) as tcp:
            tcp.sendall(len(packet).to_bytes(2, "big") + packet)
            reply = tcp.recv(4096)[2:]
    else:
        reply = exchanged(agent, packet)
    assert dnslib.DNSRecord.parse(reply).header.rcode == dnslib.RCODE.NOTIMP


def exchanged(agent: AgentProcess, packet: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(packet, ("127.0.0.1", agent.dns_port))
        return udp.recv(65_536)


def test_without_recursors_other_names_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    low, high = sidecar_ports()
    hcl = f"ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}"
    with AgentProcess(tmp_path_factory.mktemp("alone"), hcl) as alone:
        reply = dig(alone, "www.example.test", "A")
        assert reply.status == "REFUSED"
        assert "ra" not in reply.flags
        eventually(lambda: dig(alone, "consul.service.consul", "A").status == "NOERROR", "the server's own service")


def test_dig_goes_on_working_among_malformed_packets(agent: AgentProcess) -> None:
    rng = random.Random(8600)
    good = dnslib.DNSRecord.question("web.service.consul", "SRV").pack()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        for number in range(3000):
            packet = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                packet[rng.randrange(len(packet))] = rng.randrange(256)
            cut = packet[: rng.randrange(len(packet) + 1)] + rng.randbytes(rng.choice((0, 0, 3, 500)))
            try:
                udp.sendto(cut, ("127.0.0.1", agent.dns_port))
            except BlockingIOError:
                pass
            if number % 500 == 0:
                assert dig(agent, "web.service.consul", "A").data() == WEB
    idle = [socket.create_connection(("127.0.0.1", agent.dns_port), timeout=5) for _ in range(50)]
    try:
        for connection in idle:
            connection.sendall(rng.randbytes(rng.randrange(1, 200)))
        assert dig(agent, "+tcp", "web.service.consul", "A").data() == WEB
    finally:
        for connection in idle:
            connection.close()
    assert dig(agent, "web.service.consul", "A").data() == WEB
    assert "dns query failed" not in agent.log_path.read_text()
