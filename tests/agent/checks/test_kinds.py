from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from aiohttp import web

from chowk.agent.checks.grpc import GrpcCheck, decode_status, frame
from chowk.agent.checks.h2ping import H2PingCheck
from chowk.agent.checks.http import HttpCheck, make_session
from chowk.agent.checks.kinds import make_check
from chowk.agent.checks.os_service import OsServiceCheck
from chowk.agent.checks.outcome import Outcome
from chowk.agent.checks.runner import Runner
from chowk.agent.checks.tcp import TcpCheck
from chowk.agent.checks.udp import UdpCheck
from chowk.agent.config.model import ChecksConfig
from chowk.core.definitions import CheckDefinition
from chowk.core.runtime.clock import ManualClock

Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve_raw(handler: Raw) -> tuple[asyncio.Server, int]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


NO_SCRIPTS = ChecksConfig()


async def look(definition: CheckDefinition, config: ChecksConfig = NO_SCRIPTS, source: str = "file") -> Outcome:
    """One run through the runner: its timeout, its bounds."""
    found: list[Outcome] = []
    clock = ManualClock()
    async with make_session() as session:
        check = make_check(definition, source, config, session)
        assert check is not None
        runner = Runner(
            definition,
            check,
            lambda status, output: found.append(Outcome(status, output)),
            asyncio.Semaphore(1),
            clock,
            random.Random(1),
        )
        task = asyncio.create_task(runner.run())
        await clock.advance(definition.interval_s or 10.0)
        async with asyncio.timeout(10):
            while not found:
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
    return found[0]


async def http_once(handler: Callable[[web.Request], Awaitable[web.StreamResponse]], **fields: object) -> Outcome:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        definition = CheckDefinition(http=f"http://127.0.0.1:{port}/health", timeout_s=2.0, **fields)  # type: ignore[arg-type]
        return await look(definition)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("code", "status"), [(200, "passing"), (204, "passing"), (429, "warning"), (301, "critical"), (500, "critical")]
)
def test_the_status_code_decides_an_http_check(code: int, status: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=code, text="hello" if code != 204 else None)

    outcome = asyncio.run(http_once(answer))
    assert outcome.status == status
    assert f": {code} " in outcome.output
    assert outcome.output.startswith("HTTP GET http://127.0.0.1:")
    if code != 204:
        assert outcome.output.endswith("Output: hello")


def test_method_headers_host_and_body_are_sent_as_defined() -> None:
    seen: dict[str, object] = {}

    async def answer(request: web.Request) -> web.Response:
        seen.update(
            method=request.method,
            host=request.headers["Host"],
            many=request.headers.getall("X-A"),
            body=await request.text(),
        )
        return web.Response()

    header = {"host": ("inner.example",), "X-A": ("1", "2")}
    outcome = asyncio.run(http_once(answer, method="PUT", header=header, body="ping"))
    assert outcome.status == "passing"
    assert seen == {"method": "PUT", "host": "inner.example", "many": ["1", "2"], "body": "ping"}


def test_a_redirect_is_the_answer_unless_following_was_asked_for() -> None:
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        if request.path == "/health":
            return web.Response(status=302, headers={"Location": "/real"})
        return web.Response(text="here")

    assert asyncio.run(http_once(answer)).status == "critical"
    assert paths == ["/health"]
    assert asyncio.run(http_once(answer, disable_redirects=False)).status == "passing"
    assert paths == ["/health", "/health", "/real"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:1/", "http://[bad"])
def test_a_redirect_never_leads_to_another_scheme(location: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    outcome = asyncio.run(http_once(answer, disable_redirects=False))
    assert outcome.status == "critical"
    assert "root:" not in outcome.output


def test_a_redirect_to_another_origin_is_not_shown_the_headers_and_body() -> None:
    async def scene() -> dict[str, str]:
        seen: dict[str, str] = {}

        async def other(request: web.Request) -> web.Response:
            seen.update(request.headers, body=await request.text())
            return web.Response()

        app = web.Application()
        app.router.add_route("*", "/", other)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{runner.addresses[0][1]}/"})

        secret = {"Authorization": ("Bearer secret",)}
        outcome = await http_once(answer, disable_redirects=False, method="POST", body="secret", header=secret)
        await runner.cleanup()
        assert outcome.status == "passing"
        return seen

    assert "secret" not in str(asyncio.run(scene()))


def test_endless_redirects_end() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/again"})

    assert "stopped after 10 redirects" in asyncio.run(http_once(answer, disable_redirects=False)).output


def test_an_endless_body_is_cut_at_the_output_limit() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\xff" * 50_000)

    outcome = asyncio.run(http_once(answer, output_max_size=100))
    assert outcome.status == "passing"
    assert len(outcome.output.encode()) <= 100 + 512


async def never(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def big_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        writer.write(b"X-%d: %s\r\n" % (number, b"a" * 1000))
        await writer.drain()


async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(random.Random(7).randbytes(5000))
    await writer.drain()


@pytest.mark.parametrize("behaviour", [never, reset, big_headers, endless_headers, garbage])
@pytest.mark.parametrize("kind", ["http", "https", "grpc", "h2ping", "h2ping-tls", "tcp-tls"])
def test_a_hostile_target_is_critical_within_the_timeout_and_costs_no_more(behaviour: Raw, kind: str) -> None:
    async def scene() -> tuple[Outcome, float]:
        server, port = await serve_raw(behaviour)
        target = f"127.0.0.1:{port}"
        definition = {
            "http": CheckDefinition(http=f"http://{target}/", timeout_s=0.5),
            "https": CheckDefinition(http=f"https://{target}/", timeout_s=0.5, tls_skip_verify=True),
            "grpc": CheckDefinition(grpc=target, timeout_s=0.5),
            "h2ping": CheckDefinition(h2ping=target, h2ping_use_tls=False, timeout_s=0.5),
            "h2ping-tls": CheckDefinition(h2ping=target, timeout_s=0.5),
            "tcp-tls": CheckDefinition(tcp=target, tcp_use_tls=True, timeout_s=0.5),
        }[kind]
        started = time.monotonic()
        outcome = await look(definition)
        server.close()
        return outcome, time.monotonic() - started

    outcome, took_s = asyncio.run(scene())
    assert outcome.status == "critical"
    assert "the check itself failed" not in outcome.output
    assert len(outcome.output.encode()) <= 4096 + 512
    assert took_s < 4.0


def test_a_certificate_nobody_vouches_for_fails_unless_verifying_was_turned_off(tls_server: ssl.SSLContext) -> None:
    async def scene() -> list[str]:
        server = await asyncio.start_server(lambda _r, w: w.transport.abort(), "127.0.0.1", 0, ssl=tls_server)
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        strict = await look(CheckDefinition(tcp=target, tcp_use_tls=True, timeout_s=2.0))
        loose = await look(CheckDefinition(tcp=target, tcp_use_tls=True, tls_skip_verify=True, timeout_s=2.0))
        server.close()
        assert "failed to verify certificate" in strict.output
        return [strict.status, loose.status]

    assert asyncio.run(scene()) == ["critical", "passing"]


def test_a_redirect_never_leads_from_https_down_to_http(tls_server: ssl.SSLContext) -> None:
    async def scene() -> Outcome:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls_server).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
        outcome = await look(CheckDefinition(http=url, tls_skip_verify=True, disable_redirects=False, timeout_s=2.0))
        await runner.cleanup()
        return outcome

    assert "refused to follow a redirect from https to http" in asyncio.run(scene()).output


@pytest.fixture
def tls_server(tmp_path: Path) -> ssl.SSLContext:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


def test_a_tcp_check_passes_where_someone_listens_and_names_the_refusal_where_not() -> None:
    async def scene() -> tuple[Outcome, Outcome]:
        server, port = await serve_raw(never)
        passes = await TcpCheck(CheckDefinition(tcp=f"127.0.0.1:{port}")).run()
        server.close()
        await server.wait_closed()
        return passes, await TcpCheck(CheckDefinition(tcp=f"127.0.0.1:{port}")).run()

    passes, fails = asyncio.run(scene())
    assert passes.status == "passing"
    assert passes.output.endswith(": Success")
    assert fails.status == "critical"
    assert "connection refused" in fails.output


@pytest.mark.parametrize("target", ["", "nowhere", "127.0.0.1:0", "127.0.0.1:99999", "::1:80", "127.0.0.1:٣"])
def test_a_target_that_is_no_address_is_critical_not_a_crash(target: str) -> None:
    async def scene() -> list[str]:
        found = [
            await TcpCheck(CheckDefinition(tcp=target)).run(),
            await UdpCheck(CheckDefinition(udp=target), 0.1).run(),
            await GrpcCheck(CheckDefinition(grpc=target)).run(),
        ]
        return [outcome.status for outcome in found]

    assert asyncio.run(scene()) == ["critical"] * 3


def test_udp_passes_on_silence_and_fails_on_refusal() -> None:
    async def scene() -> tuple[str, str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            target = f"127.0.0.1:{sock.getsockname()[1]}"
            silent = await UdpCheck(CheckDefinition(udp=target), 0.1).run()
        refused = await UdpCheck(CheckDefinition(udp=target), 2.0).run()
        return silent.status, refused.status

    assert asyncio.run(scene()) == ("passing", "critical")


def h2_server(status: int, grpc_status: str = "0") -> Raw:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                    connection.send_data(event.stream_id, frame(b"\x08" + bytes([status])))
                    connection.send_headers(event.stream_id, [("grpc-status", grpc_status)], end_stream=True)
            writer.write(connection.data_to_send())

    return handle


@pytest.mark.parametrize(
    ("serving", "code", "expected"),
    [(1, "0", "passing"), (2, "0", "critical"), (3, "0", "critical"), (1, "12", "critical")],
)
def test_grpc_passes_only_when_serving(serving: int, code: str, expected: str) -> None:
    async def scene() -> Outcome:
        server, port = await serve_raw(h2_server(serving, code))
        outcome = await GrpcCheck(CheckDefinition(grpc=f"127.0.0.1:{port}/web")).run()
        server.close()
        return outcome

    assert asyncio.run(scene()).status == expected


def test_an_http2_server_answers_the_ping() -> None:
    async def scene() -> Outcome:
        server, port = await serve_raw(h2_server(1))
        outcome = await H2PingCheck(CheckDefinition(h2ping=f"127.0.0.1:{port}", h2ping_use_tls=False)).run()
        server.close()
        return outcome

    assert asyncio.run(scene()) == Outcome("passing", "HTTP2 ping was successful")


def test_random_http2_frames_never_do_worse_than_fail_the_check() -> None:
    async def scene() -> None:
        rng = random.Random(11)

        async def frames(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            for _ in range(rng.randint(1, 12)):
                body = rng.randbytes(rng.choice((0, 4, 5, 8, 40, 300)))
                head = len(body).to_bytes(3, "big") + bytes([rng.randint(0, 10), rng.choice((0, 1, 4, 5, 8, 255))])
                writer.write(head + rng.choice((0, 1, 1, 2, 7)).to_bytes(4, "big") + body)
            await writer.drain()

        server, port = await serve_raw(frames)
        for _ in range(300):
            grpc = await GrpcCheck(CheckDefinition(grpc=f"127.0.0.1:{port}")).run()
            ping = await H2PingCheck(CheckDefinition(h2ping=f"127.0.0.1:{port}", h2ping_use_tls=False)).run()
            assert grpc.status == ping.status == "critical"
        server.close()

    asyncio.run(scene())


def test_a_flood_of_http2_frames_is_cut() -> None:
    async def scene() -> Outcome:
        async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            while True:
                writer.write(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + b"x" * 8)
                await writer.drain()

        server, port = await serve_raw(flood)
        outcome = await H2PingCheck(CheckDefinition(h2ping=f"127.0.0.1:{port}", h2ping_use_tls=False)).run()
        server.close()
        return outcome

    assert "sent more than" in asyncio.run(scene()).output


def test_random_bytes_are_a_health_status_or_a_value_error() -> None:
    rng = random.Random(3)
    for _ in range(5000):
        try:
            assert decode_status(rng.randbytes(rng.randint(0, 30))) >= 0
        except ValueError:
            continue


def script(*arguments: str, **fields: object) -> CheckDefinition:
    return CheckDefinition(args=arguments, **fields)  # type: ignore[arg-type]


SCRIPTS = ChecksConfig(enable_script_checks=True)


@pytest.mark.parametrize(("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical"), (255, "critical")])
def test_the_exit_status_decides_a_script(code: int, status: str) -> None:
    outcome = asyncio.run(look(script("/bin/sh", "-c", f"echo said; exit {code}"), SCRIPTS))
    assert outcome == Outcome(status, "said\n")


@pytest.mark.parametrize(
    ("config", "source", "runs"),
    [
        (ChecksConfig(), "file", False),
        (ChecksConfig(), "api", False),
        (ChecksConfig(enable_local_script_checks=True), "file", True),
        (ChecksConfig(enable_local_script_checks=True), "api", False),
        (SCRIPTS, "api", True),
    ],
)
def test_a_script_runs_only_where_the_agent_allows_it(
    config: ChecksConfig, source: str, runs: bool, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    outcome = asyncio.run(look(script("/usr/bin/env", "touch", str(mark)), config, source))
    assert mark.exists() is runs
    assert outcome.status == ("passing" if runs else "critical")
    assert runs or "Scripts are disabled on this agent" in outcome.output


def test_arguments_meet_no_shell_and_the_environment_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    assert asyncio.run(look(script("/bin/echo", "$HOME;id"), SCRIPTS)).output == "$HOME;id\n"
    assert "secret" not in asyncio.run(look(script("/usr/bin/env"), SCRIPTS)).output
    assert asyncio.run(look(script("echo $((6*7))", shell="/bin/sh"), SCRIPTS)).output == "42\n"


def test_a_script_over_its_time_is_killed_with_its_children_and_leaves_no_zombie(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    forks = f"sleep 60 & echo $! >> {pids}; sleep 60 & echo $! >> {pids}; echo $$ >> {pids}; wait"
    outcome = asyncio.run(look(script("/bin/sh", "-c", forks, timeout_s=0.5), SCRIPTS))
    assert outcome.status == "critical"
    assert "timed out after 500ms" in outcome.output
    for pid in map(int, pids.read_text().split()):
        for _ in range(200):
            if not alive(pid):
                break
            time.sleep(0.01)
        assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_child_that_keeps_the_pipe_does_not_hold_up_the_script(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    started = time.monotonic()
    outcome = asyncio.run(look(script("/bin/sh", "-c", f"sleep 30 & echo $! > {pid}; echo done"), SCRIPTS))
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert outcome == Outcome("passing", "done\n")
    assert time.monotonic() - started < 3


def test_of_a_flood_of_output_the_end_is_kept() -> None:
    flood = "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done; echo end"
    outcome = asyncio.run(look(script("/bin/sh", "-c", flood), SCRIPTS))
    assert outcome.status == "passing"
    assert outcome.output.startswith("Captured 4096 of 33004 bytes\n...\n")
    assert outcome.output.endswith("end\n")


def test_a_script_that_writes_for_ever_ends_with_its_time() -> None:
    outcome = asyncio.run(look(script("/usr/bin/yes", timeout_s=0.5), SCRIPTS))
    assert outcome.status == "critical"


def test_a_command_that_is_not_there_is_critical() -> None:
    outcome = asyncio.run(look(script("/no/such/command"), SCRIPTS))
    assert outcome.status == "critical"
    assert "could not be started" in outcome.output


def test_an_os_service_is_what_the_init_system_says() -> None:
    definition = CheckDefinition(os_service="nginx")
    assert asyncio.run(OsServiceCheck(definition, "true").run()).status == "passing"
    assert asyncio.run(OsServiceCheck(definition, "false").run()).status == "critical"
    missing = asyncio.run(OsServiceCheck(definition, "no-such-systemctl").run())
    assert missing.status == "critical"
    assert "there is no no-such-systemctl on this host" in missing.output


def test_a_target_without_a_host_is_asked_on_this_one() -> None:
    async def scene() -> list[Outcome]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        server, port = await serve_raw(answer)
        async with server, make_session() as session:
            here = CheckDefinition(http=f"http://:{port}/health", timeout_s=2.0)
            return [
                await HttpCheck(here, session).run(),
                await TcpCheck(CheckDefinition(tcp=f":{port}", timeout_s=2.0)).run(),
            ]

    assert [each.status for each in asyncio.run(scene())] == ["passing", "passing"]


def test_an_http_check_that_is_no_url_is_critical() -> None:
    async def scene(url: str) -> Outcome:
        async with make_session() as session:
            return await HttpCheck(CheckDefinition(http=url), session).run()

    for url in ("nonsense", "http://", "file:///etc/passwd", "http://[::1", "http://127.0.0.1:99999/"):
        assert asyncio.run(scene(url)).status == "critical", url
