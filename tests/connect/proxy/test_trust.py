"""The trust boundary of both sides: what is not exactly right does not reach the application, and harms nobody."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chowk.connect.ca.keys import key_pem, make_csr, make_key
from chowk.connect.proxy.credentials import make_credentials
from chowk.connect.proxy.renewal import HeldLeaf
from support.mesh_rig import MeshCA, until
from support.proxy_rig import Rig, refused, talk

URI = x509.UniformResourceIdentifier


def context_of(ca: MeshCA, cert_pem: str, key) -> ssl.SSLContext:
    held = HeldLeaf(service="x", trust_domain="", root_id="", valid_from_s=0, valid_until_s=0, renew_at_s=0)
    return make_credentials(held, cert_pem, key_pem(key), ca.roots).client


def good(ca: MeshCA, service: str = "web", *, begins_s: float = 0.0, ttl_s: float = 600.0) -> ssl.SSLContext:
    key = make_key()
    leaf = ca.authority.sign_leaf(ca.identity(service), make_csr(key, service), time.time() + begins_s, ttl_s)
    return context_of(ca, leaf.cert_pem, key)


def odd(ca: MeshCA, names: list[x509.GeneralName] | None) -> ssl.SSLContext:
    """A leaf that a careless CA might have signed: its chain is right, its names are not."""
    key = make_key()
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web")]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    pem = builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return context_of(ca, pem, key)


def without_certificate(ca: MeshCA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=ca.roots.roots[0].root_cert_pem)
    return context


def old_tls(ca: MeshCA) -> ssl.SSLContext:
    context = good(ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


async def answer(port: int, context: ssl.SSLContext) -> bytes:
    """What a TLS client with `context` gets; b"" for every kind of refusal."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            try:
                writer.write(b"hello\n")
                return await reader.read(10)
            finally:
                writer.transport.abort()
    except (OSError, ssl.SSLError):
        return b""


def spiffe(ca: MeshCA, service: str) -> str:
    return str(ca.identity(service))


BAD = {
    "another mesh's leaf": lambda ca: good_of_other_mesh(ca),
    "an expired leaf": lambda ca: good(ca, begins_s=-7200, ttl_s=3600),
    "a leaf of tomorrow": lambda ca: good(ca, begins_s=86400),
    "no certificate": without_certificate,
    "TLS 1.2": old_tls,
    "no SAN": lambda ca: odd(ca, None),
    "two SANs": lambda ca: odd(ca, [URI(spiffe(ca, "web")), URI(spiffe(ca, "admin"))]),
    "a URI and a DNS name": lambda ca: odd(ca, [URI(spiffe(ca, "web")), x509.DNSName("web")]),
    "a trust domain of another cluster": lambda ca: odd(
        ca, [URI("spiffe://99999999-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web")]
    ),
    "a SPIFFE id with an encoded name": lambda ca: odd(ca, [URI(spiffe(ca, "we%62"))]),
    "the trust domain alone": lambda ca: odd(ca, [URI(f"spiffe://{ca.domain}")]),
}


def good_of_other_mesh(ca: MeshCA) -> ssl.SSLContext:
    """Of a mesh of the same name, so that only the root differs; it trusts ours, to get as far as it can."""
    other = MeshCA()
    key = make_key()
    leaf = other.authority.sign_leaf(other.identity("web"), make_csr(key, "web"), time.time(), 600)
    return context_of(ca, leaf.cert_pem, key)


@pytest.mark.parametrize("what", BAD)
def test_the_public_listener_refuses(what, tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.serve("api")
            assert await answer(port, BAD[what](rig.ca)) == b""
            assert rig.app.connections == 0
            state = rig.proxies["api"].state
            await until(lambda: state.handshake_failures == 1, "counted")
            assert await answer(port, good(rig.ca)) == b"app:hello\n"
            assert rig.app.connections == 1

    uvloop.run(run())


def test_a_session_is_judged_again_when_it_is_resumed(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            resumed = []
            inbound = rig.proxies["api"].inbound
            judge = inbound._source_of

            def look(link):
                resumed.append(link.resumed)
                return judge(link)

            inbound._source_of = look
            for _ in range(3):
                assert await talk(port) == b"app:hello\nend"
            assert resumed == [False, True, True]
            denied = msgspec.structs.replace(rig.agent.snapshots["api-proxy"], default_allow=False)
            rig.agent.publish(denied)
            await until(lambda: not rig.proxies["api"].state.snapshot.default_allow, "denied")
            assert await refused(port)
            assert resumed[-1]
            assert inbound.denied_total == 1

    uvloop.run(run())


def test_a_session_that_is_refused_is_given_up_for_a_new_one(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.pair()
            resumed = []
            server = rig.proxies["api"].inbound
            judge = server._source_of

            def look(link):
                resumed.append(link.resumed)
                return judge(link)

            server._source_of = look
            assert await talk(port) == b"app:hello\nend"
            state = rig.proxies["api"].state
            held = state.credentials
            key = make_key()
            leaf = rig.ca.authority.sign_leaf(rig.ca.identity("api"), make_csr(key, "api"), time.time(), 600.0)
            state.credentials = make_credentials(held.leaf, leaf.cert_pem, key_pem(key), rig.ca.roots)
            for _ in range(4):
                assert await talk(port) == b"app:hello\nend"
            assert resumed == [False, False, False, True, True]

    uvloop.run(run())


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 5000,
        b"\x16\x03\x01\xff\xff" + b"A" * 200_000,
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"X-Long: " + b"a" * 1_000_000,
    ],
    ids=["plain HTTP", "zeros", "an endless hello", "a broken hello", "1 MB of header"],
)
def test_garbage_on_the_public_listener_harms_nobody(garbage, tmp_path):
    async def run():
        async with Rig(tmp_path, handshake_timeout_s=0.5) as rig:
            port = await rig.pair()
            public = rig.agent.snapshots["api-proxy"].inbound.bind_port
            for _ in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", public)
                try:
                    writer.write(garbage)
                    async with asyncio.timeout(5):
                        while await reader.read(4096):
                            pass
                except OSError:
                    pass
                finally:
                    writer.close()
            assert await talk(port) == b"app:hello\nend"
            state = rig.proxies["api"].state
            await until(lambda: state.connections.inside == 0 and state.handshakes.inside == 0, "nothing is held")
            assert state.handshake_failures == 5

    uvloop.run(run())


def test_an_upstream_that_proves_to_be_another_service_gets_no_byte(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            impostor = await rig.serve("other")
            port = await rig.use("web", "api", [impostor])
            assert await refused(port)
            assert rig.app.bytes == 0
            assert rig.proxies["web"].describe().upstreams[0].dial_failures_total == 1

    uvloop.run(run())


def test_a_cut_without_close_notify_is_never_taken_for_an_end(tmp_path):
    async def run():
        async with Rig(tmp_path) as rig:
            port = await rig.serve("api")
            ended = asyncio.get_running_loop().create_future()

            async def app(reader, writer):
                try:
                    ended.set_result(await reader.read())
                except OSError as error:
                    ended.set_exception(error)
                writer.close()

            rig.app.server.close()
            server = await asyncio.start_server(app, "127.0.0.1", rig.app.port)
            _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=good(rig.ca))
            writer.write(b"transfer 1000 to bob")
            await until(lambda: rig.proxies["api"].inbound.tally.from_mesh_bytes == 20, "arrived")
            writer.transport.abort()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(ended, 5)
            server.close()

    uvloop.run(run())


def test_the_private_key_has_no_name_in_any_file_system(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ca = MeshCA()
    opened = []
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: opened.append(args) or open_(*args, **kwargs))
    good(ca)
    assert [type(args[0]) for args in opened] == [int, int][: len(opened)]
    assert list(tmp_path.iterdir()) == []


open_ = open
