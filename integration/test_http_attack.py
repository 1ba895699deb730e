"""Hostile peers of real sidecars: bytes that are no HTTP or two kinds of it, sizes at every limit, slowness, lies.

Each attack goes through both proxies of a pair (from the application's port), those of clients also straight to the public
port as another service of the mesh. Whoever attacks is refused or cut; the next request is served, and the proxies are the
same processes as before.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from harness.agent import AgentProcess
from harness.hostile import END, Backend, Client, Stream, ask, caller, inside, public_port, says
from harness.mesh import mesh_hcl
from harness.ports import free_port
from harness.sidecars import private_bytes
from harness.waiting import eventually
from support.http_corpus import cases

ENTRIES = """
config_entries { bootstrap = [
  { kind = "service-defaults", name = "api", protocol = "http" },
  {
    kind = "service-router", name = "api"
    routes = [
      { match { http { path_prefix = "/timed" } }, destination { request_timeout = "700ms" } },
      { match { http { path_prefix = "/tries" } }
        destination { request_timeout = "5s", per_try_timeout = "300ms", num_retries = 2, retry_on = [ "reset", "5xx" ] } },
      { match { http { path_prefix = "/still" } }, destination { idle_timeout = "700ms" } },
    ]
  },
] }
"""
GIGABYTE = 1_000_000_000
MEMORY_GROWTH_MAX = 8 * 1024 * 1024
"""What a sidecar may grow by while it carries a gigabyte."""
PIECE = bytes(range(256)) * 256


class Mesh(NamedTuple):
    """`upstream` is the port of the application `web`, `public` that of the sidecar of `api`, `context` lets us in there."""

    agent: AgentProcess
    backend: Backend
    upstream: int
    public: int
    context: ssl.SSLContext

    def doors(self) -> tuple[Callable[[], Client], ...]:
        """Both ways in: as the application of one sidecar, and as another service at the other's."""
        return lambda: Client.to(self.upstream), lambda: inside(self.context, self.public)

    def proxies(self) -> dict[str, int]:
        """The pids of both sidecars."""
        found = {}
        for line in self.agent.log_path.read_text().splitlines():
            if "proxy attached" in line:
                found[line.partition(" proxy=")[2].split()[0]] = int(line.partition(" pid=")[2].split()[0])
        return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    upstream = free_port()
    with (
        Backend("web") as web,
        Backend() as api,
        AgentProcess(tmp_path_factory.mktemp("attack"), mesh_hcl(web.port, api.port, upstream, ENTRIES)) as agent,
    ):
        eventually(lambda: ask(upstream).status == 200, f"HTTP passes\n{agent.log()}", 20)
        yield Mesh(agent, api, upstream, public_port(agent, "api"), caller(agent, "web"))


@pytest.fixture(autouse=True)
def _whole(mesh: Mesh) -> Iterator[None]:
    """After each attack both sidecars are who they were, and serve."""
    before = mesh.proxies()
    assert len(before) == 2
    yield
    mesh.backend.scripts.clear()
    for door in mesh.doors():
        with door() as client:
            assert client.ask("/after").body == b"api /after 0"
    assert mesh.proxies() == before


# --- what can be read in two ways


TOO_LARGE = ("head_size", "header_count", "target_size")
"""Kinds of which a proxy takes more from another proxy."""


@pytest.mark.parametrize("name", cases("requests"))
def test_a_request_that_can_be_read_in_two_ways_reaches_no_application(name: str, mesh: Mesh) -> None:
    case = cases("requests")[name]
    for door in mesh.doors()[: 1 if case["kind"] in TOO_LARGE else 2]:
        with door() as client:
            client.send(case["bytes"] + b"GET /smuggled HTTP/1.1\r\nHost: api\r\n\r\n")
            reply = client.reply()
            assert reply.status in (400, 414, 417, 431, 501, 505)
            assert reply.error == "bad-request"
            assert client.rest() == b""
    assert not mesh.backend.seen("smuggled")


@pytest.mark.parametrize("name", cases("responses"))
def test_an_answer_that_can_be_read_in_two_ways_is_none(name: str, mesh: Mesh) -> None:
    case = cases("responses")[name]
    method = case.get("method", "GET")
    behind = b"" if case["kind"] == "truncated" else b"HTTP/1.1 200 OK\r\nX-Smuggled: 1\r\nContent-Length: 0\r\n\r\n"
    mesh.backend.scripts["/answer"] = says(case["bytes"] + behind, close=True)
    for door in mesh.doors():
        with door() as client:
            reply = client.ask("/answer", method, "Connection: close\r\n")
            assert reply.status == 502 or not reply.whole
            assert b"Smuggled" not in reply.head + reply.body + client.rest()


def test_hosts_that_differ_are_refused_and_the_one_there_is_goes_on(mesh: Mesh) -> None:
    for door in mesh.doors():
        for text in (
            b"GET / HTTP/1.1\r\nHost: api\r\nhost: api\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            with door() as client:
                client.send(text)
                assert client.reply().status == 400
        with door() as client:
            client.send(b"GET http://shop:81/hosted HTTP/1.1\r\nHost: shop:81\r\n\r\n")
            assert client.reply().status == 200
        assert b"\r\nHost: shop:81\r\n" in mesh.backend.seen("/hosted")[-1]
        with door() as client:
            client.send(b"GET /hosted HTTP/1.0\r\n\r\n")
            assert client.reply().status == 200
        assert b"\r\nHost: api\r\n" in mesh.backend.seen("/hosted")[-1]


# --- sizes


def head_of(size: int) -> bytes:
    """A request head of so many bytes."""
    begin = b"GET /sized HTTP/1.1\r\nHost: api\r\nX-Pad: "
    return begin + b"a" * (size - len(begin) - 4) + END


@pytest.mark.parametrize(
    ("fits", "over", "status"),
    [
        (head_of(65536), head_of(65537), 431),
        (
            b"GET / HTTP/1.1\r\nHost: api\r\n" + b"X-A: b\r\n" * 99 + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: api\r\n" + b"X-A: b\r\n" * 100 + b"\r\n",
            431,
        ),
        (
            b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\nHost: api\r\n\r\n",
            b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: api\r\n\r\n",
            414,
        ),
        (b"M" * 32 + b" / HTTP/1.1\r\nHost: api\r\n\r\n", b"M" * 33 + b" / HTTP/1.1\r\nHost: api\r\n\r\n", 501),
        (
            b"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n1;"
            + b"e" * 255
            + b"\r\na\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n1;"
            + b"e" * 256
            + b"\r\na\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x-a: b\r\n" * 32 + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x-a: b\r\n" * 33 + b"\r\n",
            431,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 1" + b"0" * 18 + b"\r\n\r\n",
            400,
        ),
    ],
    ids=["head", "headers", "target", "method", "extension", "trailers", "length"],
)
def test_what_is_at_a_limit_passes_both_proxies_and_what_is_over_it_is_refused(
    fits: bytes, over: bytes, status: int, mesh: Mesh
) -> None:
    for door in mesh.doors():
        with door() as client:
            client.send(fits)
            assert client.reply().status == 200
    with Client.to(mesh.upstream) as client:
        client.send(over)
        assert client.reply().status == status


def test_answers_at_the_limits_pass_and_larger_ones_do_not(mesh: Mesh) -> None:
    def answer(pad: int, lines: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * lines + b"X-Pad: " + b"a" * pad + b"\r\n\r\nbody"

    size = 65536 - len(answer(0, 0)) + len(b"body")
    for pad, lines, status in ((size, 0, 200), (1, 99, 200), (size + 1, 0, 502), (1, 100, 502)):
        mesh.backend.scripts["/large"] = says(answer(pad, lines), close=True)
        for door in mesh.doors():
            with door() as client:
                reply = client.ask("/large")
                assert reply.status == status
                assert reply.body == b"body" or status == 502


# --- lies about lengths


CUT = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", "length"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "no last chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "part of a chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello world\r\n0\r\n\r\n", "a chunk that is too long"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", "a bad size"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHost: b\r\n\r\n", "a bad trailer"),
]


@pytest.mark.parametrize("ending", ["end", "reset"])
@pytest.mark.parametrize("text", [text for text, _ in CUT], ids=[name for _, name in CUT])
def test_an_answer_that_is_cut_is_never_taken_for_a_whole_one(text: bytes, ending: str, mesh: Mesh) -> None:
    mesh.backend.scripts["/cut"] = says(text, close=ending == "end", reset=ending == "reset")
    for door in mesh.doors():
        with door() as client:
            reply = client.ask("/cut", headers="Connection: close\r\n")
            assert not reply.whole or reply.status == 502
            assert client.rest() == b""
        with door() as client:
            client.send(b"GET /cut HTTP/1.0\r\n\r\n")
            old = client.reply()
            assert not old.whole or old.status == 502, "HTTP/1.0 knows no chunks: it must see a reset"


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\npoison",
    ],
    ids=["bytes", "a second answer", "a second answer behind chunks"],
)
def test_what_comes_behind_an_answer_is_nobodys_answer(text: bytes, mesh: Mesh) -> None:
    mesh.backend.scripts["/more"] = says(text)
    for door in mesh.doors():
        with door() as client:
            for _ in range(3):
                reply = client.ask("/more")
                assert (reply.status, reply.body, reply.whole) == (200, b"hello", True)
                assert client.ask("/next").body == b"api /next 0"


def test_an_answer_that_nobody_asked_for_ends_its_connection(mesh: Mesh) -> None:
    def unasked(stream: Stream, _head: bytes) -> None:
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        time.sleep(0.2)
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    mesh.backend.scripts["/unasked"] = unasked
    with Client.to(mesh.upstream) as client:
        assert client.ask("/unasked").body == b"ok"
        time.sleep(0.4)
        for _ in range(20):
            assert client.ask("/next").body == b"api /next 0"


def test_floods_of_interim_answers_end_and_few_of_them_pass(mesh: Mesh) -> None:
    def flood(stream: Stream, _head: bytes) -> None:
        for _ in range(100_000):
            stream.send(b"HTTP/1.1 102 Processing\r\nX-Pad: " + b"a" * 1000 + END)

    mesh.backend.scripts["/flood"] = flood
    mesh.backend.scripts["/early"] = says(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    for door in mesh.doors():
        with door() as client:
            statuses = [client.ask("/early").status, *(client.reply().status for _ in range(3))]
            assert statuses == [103, 103, 103, 200]
        with door() as client:
            reply = client.ask("/flood")
            seen = 0
            while reply.status == 102:
                seen += 1
                reply = client.reply()
            assert (reply.status, seen < 1000) == (502, True)


# --- silence and slowness


def test_a_backend_that_never_answers_costs_the_time_that_its_route_allows(mesh: Mesh) -> None:
    for target in ("/timed", "/tries", "/still"):
        mesh.backend.scripts[target] = lambda stream, _head: stream.rest() is None
    for target, reason, most_s in (
        ("/timed", "request-timeout", 2.5),
        ("/tries", "try-timeout", 3.0),
        ("/still", "stalled", 3.0),
    ):
        began = time.monotonic()
        reply = ask(mesh.upstream, target)
        assert (reply.status, reply.error) == (504, reason)
        assert time.monotonic() - began < most_s
    assert len(mesh.backend.seen("/tries")) == 3
    began = time.monotonic()
    assert ask(mesh.upstream, "/tries", "POST").status == 504
    assert len(mesh.backend.seen("/tries")) == 4, "what may have done work is not sent again"


@pytest.mark.parametrize("what", ["head", "body"])
def test_a_backend_that_drips_is_cut_when_the_time_of_its_route_is_over(what: str, mesh: Mesh) -> None:
    def drip(stream: Stream, _head: bytes) -> bool:
        stream.send(b"HTTP/1.1 200 OK\r\n" if what == "head" else b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(200):
            stream.send(b"X: y\r\n" if what == "head" else b"a")
            time.sleep(0.05)
        return True

    mesh.backend.scripts["/timed"] = drip
    began = time.monotonic()
    reply = ask(mesh.upstream, "/timed")
    assert reply.status == 504 or (reply.status == 200 and not reply.whole)
    assert time.monotonic() - began < 2.5


def test_clients_that_drip_their_heads_are_ended_while_others_are_served(mesh: Mesh) -> None:
    clients = [door() for door in mesh.doors() for _ in range(100)]
    for client in clients:
        client.send(b"GET /slow HTTP/1.1\r\nHost: api\r\n")
    began = time.monotonic()
    left = list(clients)
    while left and time.monotonic() - began < 20:
        assert ask(mesh.upstream).status == 200
        for client in list(left):
            try:
                client.send(b"X: y\r\n")
            except OSError:
                left.remove(client)
        time.sleep(0.3)
    assert not left, "a drip of bytes keeps no connection"
    assert 9.0 < time.monotonic() - began < 16.0
    assert not mesh.backend.seen("/slow")
    for client in clients:
        client.close()


def test_a_slow_client_body_holds_its_own_connection_only_and_is_never_more_than_it_sent(mesh: Mesh) -> None:
    seen: list[bytes] = []

    def take(stream: Stream, _head: bytes) -> bool:
        seen.append(stream.rest())
        return True

    mesh.backend.scripts["/timed"] = take
    for door in mesh.doors():
        with door() as client:
            client.send(b"POST /timed HTTP/1.1\r\nHost: api\r\nContent-Length: 1000\r\n\r\nabc")
            assert ask(mesh.upstream).status == 200
    eventually(lambda: seen == [b"abc", b"abc"], "the application sees a cut, not a body")


def test_an_answer_before_the_body_was_read_reaches_who_is_still_sending(mesh: Mesh) -> None:
    def early(stream: Stream, _head: bytes) -> bool:
        stream.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        stream.close()
        return True

    mesh.backend.scripts["/early"] = early
    for door in mesh.doors():
        for size in (10, 100_000, 3_000_000):
            with door() as client:
                client.send(f"POST /early HTTP/1.1\r\nHost: api\r\nContent-Length: {size}\r\n\r\n".encode())
                sent = 0
                while sent < size // 2:
                    piece = PIECE[: size // 2 - sent]
                    client.send(piece)
                    sent += len(piece)
                reply = client.reply()
                assert (reply.status, reply.body) == (413, b"big")
                assert client.rest() == b""


# --- a gigabyte


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_gigabyte_passes_both_ways_and_no_sidecar_grows(chunked: bool, mesh: Mesh) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIGABYTE}"

    def echo(stream: Stream, head: bytes) -> None:
        stream.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode() + stream.buffer)
        if stream.buffer:
            counted[0] += len(stream.buffer)
            stream.buffer = b""
        while not stream.sock._closed:  # type: ignore[attr-defined]
            data = stream.sock.recv(1 << 18)
            if not data:
                return
            stream.sock.sendall(data)
            counted[0] += len(data)
            if done(data):
                return

    def done(data: bytes) -> bool:
        return data.endswith(b"\r\n0\r\n\r\n") if chunked else counted[0] >= GIGABYTE

    counted = [0]
    mesh.backend.scripts["/echo"] = echo
    pids = mesh.proxies()
    before = {name: private_bytes(pid) for name, pid in pids.items()}
    most = dict(before)
    with Client.to(mesh.upstream, 60.0) as client:
        client.send(f"POST /echo HTTP/1.1\r\nHost: api\r\n{framing}\r\n\r\n".encode())

        def upload() -> None:
            sent = 0
            while sent < GIGABYTE:
                piece = PIECE[: GIGABYTE - sent]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
            if chunked:
                client.send(b"0\r\n\r\n")

        sending = threading.Thread(target=upload)
        sending.start()
        head = client.until(END)
        assert head.startswith(b"HTTP/1.1 200 ")
        got, looked = 0, 0
        while got < GIGABYTE and (data := client.read()):
            got += len(data)
            if got - looked > 100_000_000:
                looked = got
                most = {name: max(most[name], private_bytes(pid)) for name, pid in pids.items()}
        sending.join()
    assert got >= GIGABYTE
    growth = {name: most[name] - before[name] for name in most}
    print("growth in KiB", {name: size // 1024 for name, size in growth.items()})
    assert max(growth.values()) < MEMORY_GROWTH_MAX, growth
