"""The HTTP API over TLS and Unix sockets, beside plain TCP: for real, with certificates of `chowk tls`."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from pathlib import Path

import aiohttp
import pytest

from chowk.agent.api.secure import BadCertificate, bind_sockets, tls_context
from chowk.agent.commands.tls_files import Pair, make_authority, make_certificate
from chowk.agent.config.model import Addresses, AgentConfig, HttpsConfig, LimitsConfig, Ports, UnixSocketsConfig
from support.http_api import Api, with_registry


def write_pair(folder: Path, name: str, pair: Pair) -> tuple[str, str]:
    (folder / f"{name}.pem").write_bytes(pair.certificate)
    (folder / f"{name}-key.pem").write_bytes(pair.key)
    return str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem")


@pytest.fixture
def authority() -> Pair:
    return make_authority("consul", 1)


def certificate(authority: Pair, *, listens: bool = True) -> Pair:
    return make_certificate(*authority, ["server.dc1.consul", "localhost"], ["127.0.0.1"], 1, listens=listens)


def https_of(folder: Path, authority: Pair, *, verify: bool = False) -> HttpsConfig:
    ca_file, _ = write_pair(folder, "ca", authority)
    cert_file, key_file = write_pair(folder, "server", certificate(authority))
    return HttpsConfig(cert_file=cert_file, key_file=key_file, ca_file=ca_file, verify_incoming=verify)


async def ask(api: Api, trusted: Pair, shown: tuple[str, str] | None = None, path: str = "/v1/status/leader") -> int:
    context = ssl.create_default_context(cadata=trusted.certificate.decode())
    if shown:
        context.load_cert_chain(*shown)
    url = f"https://localhost:{api.http.https_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
        return response.status


def secure_config(https: HttpsConfig, *, connections: int = 200) -> AgentConfig:
    return AgentConfig(
        node_name="n",
        https=https,
        ports=Ports(https=0),
        limits=LimitsConfig(http_max_conns_per_client=connections),
    )


def test_https_answers_whoever_trusts_the_authority_and_nobody_else_is_fooled(tmp_path: Path, authority: Pair) -> None:
    async def body(api: Api) -> None:
        assert await ask(api, authority) == 200
        assert (await api.get("/v1/status/leader")).status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await ask(api, make_authority("consul", 1))
        with pytest.raises(aiohttp.ClientError):
            async with api.session.get(f"http://127.0.0.1:{api.http.https_port}/v1/status/leader"):
                pass

    with_registry(tmp_path, body, secure_config(https_of(tmp_path, authority)))


def test_with_verify_incoming_a_client_without_a_certificate_of_the_authority_gets_nothing(
    tmp_path: Path, authority: Pair
) -> None:
    ours = write_pair(tmp_path, "cli", certificate(authority, listens=False))
    other = make_authority("consul", 1)
    theirs = write_pair(tmp_path, "theirs", certificate(other, listens=False))

    async def body(api: Api) -> None:
        assert await ask(api, authority, ours) == 200
        for shown in (None, theirs):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await ask(api, authority, shown)

    with_registry(tmp_path, body, secure_config(https_of(tmp_path, authority, verify=True)))


def test_a_reload_takes_a_new_certificate_and_keeps_the_old_one_when_the_new_is_broken(
    tmp_path: Path, authority: Pair
) -> None:
    https = https_of(tmp_path, authority)
    second = make_authority("consul", 1)

    async def body(api: Api) -> None:
        Path(https.cert_file).write_text("not a certificate")
        with pytest.raises(BadCertificate, match=r"cannot use the certificate .*server\.pem"):
            api.http.reload()
        assert await ask(api, authority) == 200
        write_pair(tmp_path, "server", certificate(second))
        api.http.reload()
        assert await ask(api, second) == 200

    with_registry(tmp_path, body, secure_config(https))


def test_too_many_connections_over_tls_are_told_so_too(tmp_path: Path, authority: Pair) -> None:
    async def body(api: Api) -> None:
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        _, first = await asyncio.open_connection("127.0.0.1", api.http.https_port, ssl=context)
        reader, second = await asyncio.open_connection("127.0.0.1", api.http.https_port, ssl=context)
        assert (await reader.readline()).startswith(b"HTTP/1.1 429")
        for writer in (first, second):
            writer.close()

    with_registry(tmp_path, body, secure_config(https_of(tmp_path, authority), connections=1))


def test_a_unix_socket_has_the_mode_it_was_given_and_goes_with_the_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "http.sock")
    config = AgentConfig(
        node_name="n",
        addresses=Addresses(http_sockets=(path,)),
        unix_sockets=UnixSocketsConfig(mode=0o660, group=str(os.getgid())),
    )

    async def body(_api: Api) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        connector = aiohttp.UnixConnector(path)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/v1/status/leader") as response,
        ):
            assert response.status == 200

    with_registry(tmp_path, body, config)
    assert not Path(path).exists()


def test_a_user_or_group_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no group"):
        bind_sockets([str(tmp_path / "a")], UnixSocketsConfig(group="no-such-group-here"))
    with pytest.raises(OSError, match="there is no user"):
        bind_sockets([str(tmp_path / "a")], UnixSocketsConfig(user="no-such-user-here"))
    for nobody in ("²", "99999999999", "a\0b"):
        with pytest.raises(OSError, match="there is no"):
            bind_sockets([str(tmp_path / "a")], UnixSocketsConfig(user=nobody))
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Pair) -> None:
    https = https_of(tmp_path, authority)
    (tmp_path / "none.pem").write_text("")
    for changed, text in (
        ({"cert_file": str(tmp_path / "missing.pem")}, "missing.pem"),
        ({"cert_file": "a\0b"}, "a\0b"),
        ({"key_file": str(tmp_path / "ca-key.pem")}, "ca-key.pem"),
        ({"ca_file": str(tmp_path / "none.pem"), "verify_incoming": True}, "none.pem"),
    ):
        with pytest.raises(BadCertificate, match=text):
            tls_context(HttpsConfig(**{name: getattr(https, name) for name in https.__struct_fields__} | changed))
