"""https: whom the CLI trusts, and what it says when it does not."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.cli_agent import CannedAgent, canned_agent


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "agent.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[CannedAgent]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with canned_agent(tls=context) as agent:
        agent.on("GET", "/v1/catalog/datacenters", ["dc1"])
        yield agent


def test_a_certificate_of_a_known_authority_is_trusted(run, secure, certificate, monkeypatch):
    command = ("catalog", "datacenters", f"-http-addr={secure.address}", f"-ca-file={certificate}")
    assert run(*command) == (0, "dc1\n", "")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    bare = secure.address.removeprefix("https://")
    assert run("catalog", "datacenters", f"-http-addr={bare}", f"-ca-file={certificate}")[0] == 0


def test_a_certificate_nobody_vouches_for_is_refused_and_the_token_is_not_sent(run, secure):
    code, _out, err = run("catalog", "datacenters", f"-http-addr={secure.address}", "-token=secret")
    assert code == 1
    assert "is not trusted" in err
    assert "-ca-file" in err
    assert secure.asked == []


def test_a_certificate_of_another_name_is_refused(run, secure, certificate):
    flags = (f"-http-addr={secure.address}", f"-ca-file={certificate}", "-tls-server-name=other.example")
    assert run("catalog", "datacenters", *flags)[0] == 1
    assert secure.asked == []


def test_not_checking_the_certificate_is_possible_and_warned_of(run, secure, monkeypatch):
    monkeypatch.setenv("CHOWK_HTTP_SSL_VERIFY", "false")
    code, out, err = run("catalog", "datacenters", f"-http-addr={secure.address}")
    assert (code, out) == (0, "dc1\n")
    assert err.startswith("Warning: the agent's certificate is not checked")


def test_a_ca_file_that_is_none_is_named(run, secure, tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "gone.pem"):
        code, _out, err = run("catalog", "datacenters", f"-http-addr={secure.address}", f"-ca-file={path}")
        assert code == 1
        assert f"cannot use {path} for https" in err


def test_https_to_an_http_port_and_http_to_an_https_port_are_explained(run, agent, secure):
    code, _out, err = run("catalog", "datacenters", f"-http-addr={agent.address.replace('http://', 'https://')}")
    assert code == 1
    assert "Is it an http:// address?" in err
    code, _out, err = run("catalog", "datacenters", f"-http-addr={secure.address.replace('https://', 'http://')}")
    assert code == 1
    assert "Is it an https:// address" in err
