"""`chowk tls`: the files' names, what their certificates are good for, and that no key is ever written over."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from chowk.cli import run


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(name).read_bytes())


def names_of(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName), [str(ip) for ip in found.get_values_for_type(x509.IPAddress)]


def test_an_authority_is_written_once_and_its_key_is_the_owners_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tls", "ca", "create"]) == 0
    assert capsys.readouterr().out == "==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem\n"
    assert Path("consul-agent-ca-key.pem").stat().st_mode & 0o777 == 0o600
    key = Path("consul-agent-ca-key.pem").read_bytes()
    assert run(["tls", "ca", "create"]) == 1
    assert "consul-agent-ca.pem already exists" in capsys.readouterr().err
    Path("consul-agent-ca.pem").unlink()
    assert run(["tls", "ca", "create"]) == 1
    assert Path("consul-agent-ca-key.pem").read_bytes() == key
    assert not Path("consul-agent-ca.pem").exists()


def test_an_authority_is_bounded_as_asked() -> None:
    flags = ["-domain=example", "-days=10", "-name-constraint", "-additional-name-constraint=a.b", "-cluster-id=c1"]
    assert run(["tls", "ca", "create", *flags, "-common-name", "My CA"]) == 0
    found = load("example-agent-ca.pem")
    assert found.subject.rfc4514_string() == "CN=My CA"
    constraints = found.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    assert [one.value for one in constraints] == ["example", "localhost", "a.b"]
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://c1.example"]
    assert 9 <= (found.not_valid_after_utc - found.not_valid_before_utc).days <= 10


@pytest.mark.parametrize(
    ("flags", "file", "dns", "addresses"),
    [
        (["-server"], "dc1-server-consul-0", ["server.dc1.consul", "localhost"], ["127.0.0.1"]),
        (
            ["-server", "-dc=dc2", "-node=n1", "-additional-ipaddress=10.0.0.5", "-additional-dnsname=a.b"],
            "dc2-server-consul-0",
            ["server.dc2.consul", "n1.server.dc2.consul", "localhost", "a.b"],
            ["127.0.0.1", "10.0.0.5"],
        ),
        (["-client"], "dc1-client-consul-0", ["client.dc1.consul", "localhost"], ["127.0.0.1"]),
        (["-cli"], "dc1-cli-consul-0", ["cli.dc1.consul", "localhost"], []),
    ],
)
def test_a_certificate_has_the_names_of_its_kind(
    flags: list[str], file: str, dns: list[str], addresses: list[str]
) -> None:
    assert run(["tls", "ca", "create"]) == 0
    assert run(["tls", "cert", "create", *flags]) == 0
    certificate = load(f"{file}.pem")
    assert names_of(certificate) == (dns, addresses)
    certificate.verify_directly_issued_by(load("consul-agent-ca.pem"))
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in purposes) == ("-cli" not in flags)
    assert Path(f"{file}-key.pem").stat().st_mode & 0o777 == 0o600


def test_the_next_certificate_gets_the_next_number(capsys: pytest.CaptureFixture[str]) -> None:
    run(["tls", "ca", "create"])
    for number in range(2):
        assert run(["tls", "cert", "create", "-client"]) == 0
        assert f"==> Saved dc1-client-consul-{number}.pem" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["cert", "create"], "Please provide either -server, -client, or -cli"),
        (["cert", "create", "-server", "-cli"], "Please provide either"),
        (["cert", "create", "-client", "-node=x"], "-node requires -server"),
        (["cert", "create", "-client", "-domain=x"], "cannot read x-agent-ca.pem"),
        (["cert", "create", "-client", "-additional-ipaddress=x"], "'x' does not appear to be an IPv4 or IPv6 address"),
        (["cert", "create", "-client", "-dc=../../etc"], "is no name"),
        (["cert", "create", "-client", "-key=other-agent-ca-key.pem"], "the key is not that of the authority"),
        (["cert", "create", "-client", "-ca=consul-agent-ca-key.pem"], "cannot be read"),
        (["cert", "create", "-client", "-days=0"], "0 is not in the range"),
        (["ca", "create", "-domain=a/b"], "is no name"),
        (["ca", "create", "-additional-name-constraint=a"], "needs -name-constraint"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_no_file(
    args: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["tls", "ca", "create"])
    run(["tls", "ca", "create", "-domain=other"])
    before = sorted(Path().iterdir())
    assert run(["tls", *args]) == 1
    assert text in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_addresses_are_addresses() -> None:
    run(["tls", "ca", "create"])
    run(["tls", "cert", "create", "-client", "-additional-ipaddress=::1"])
    assert ipaddress.ip_address(names_of(load("dc1-client-consul-0.pem"))[1][1]).version == 6
