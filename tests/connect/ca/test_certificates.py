"""What a leaf proves and what it cannot be made to say; chains that hold and chains that do not."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chowk.connect.ca.certificates import Authority, make_root, root_record
from chowk.connect.ca.keys import key_pem, load_key, make_csr, make_key
from chowk.connect.ca.spiffe import check_service_name, parse_spiffe
from chowk.connect.ca.verification import IdentityError, peer_identity, verify_chain
from chowk.connect.snapshot import SpiffeService
from chowk.core.errors import InvalidRequest
from chowk.core.records.ca import CARoots, LeafCertificate

NOW_S = 1_750_000_000.0
HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S
CLUSTER = "11111111-2222-4333-8444-555555555555"
DOMAIN = f"{CLUSTER}.consul"
WEB = SpiffeService(trust_domain=DOMAIN, datacenter="dc1", service="web")


class Mesh:
    def __init__(self, cluster: str = CLUSTER, root_ttl_s: float = 10 * YEAR_S) -> None:
        self.key = make_key()
        self.root = make_root(self.key, cluster, NOW_S, root_ttl_s)
        self.authority = Authority(self.root, self.key)
        record = root_record(self.root, active=True)
        self.roots = CARoots(active_root_id=record.id, trust_domain=f"{cluster}.consul", roots=(record,))

    def leaf(self, identity: SpiffeService = WEB, ttl_s: float = 72 * HOUR_S) -> LeafCertificate:
        return self.authority.sign_leaf(identity, make_csr(make_key(), "x"), NOW_S, ttl_s)


def certificate(leaf: LeafCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.cert_pem.encode())


def der(leaf: LeafCertificate) -> bytes:
    return certificate(leaf).public_bytes(serialization.Encoding.DER)


def test_a_leaf_proves_its_service_for_its_lifetime_and_no_longer() -> None:
    mesh = Mesh()
    leaf = mesh.leaf()
    assert leaf.service_uri == f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"
    assert verify_chain([der(leaf)], mesh.roots, NOW_S) == WEB
    assert verify_chain([der(leaf)], mesh.roots, NOW_S - 59) == WEB
    assert verify_chain([der(leaf)], mesh.roots, NOW_S + 72 * HOUR_S - 1) == WEB
    with pytest.raises(IdentityError, match="not valid before"):
        verify_chain([der(leaf)], mesh.roots, NOW_S - 62)
    with pytest.raises(IdentityError, match="expired"):
        verify_chain([der(leaf)], mesh.roots, NOW_S + 72 * HOUR_S + 1)


def test_a_leaf_never_outlives_its_root() -> None:
    mesh = Mesh(root_ttl_s=2 * HOUR_S)
    leaf = certificate(mesh.leaf(ttl_s=72 * HOUR_S))
    assert leaf.not_valid_after_utc == mesh.root.not_valid_after_utc


def test_of_a_signing_request_only_the_public_key_is_taken() -> None:
    mesh, key = Mesh(), make_key()
    admin = x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/admin")
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
        .add_extension(x509.SubjectAlternativeName([admin, x509.DNSName("admin")]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    leaf = certificate(mesh.authority.sign_leaf(WEB, pem, NOW_S, HOUR_S))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [str(WEB)]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.subject.rfc4514_string() == "CN=web"
    assert leaf.public_key() == key.public_key()


def rsa_request() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def p384_request() -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def forged_request() -> str:
    """The request of one key with the public key of another: nobody shows to hold that one's private key."""
    own, others = (
        x509.load_pem_x509_csr(make_csr(make_key(), "same").encode()).public_bytes(serialization.Encoding.DER)
        for _ in range(2)
    )
    mine, theirs = (
        x509.load_der_x509_csr(data)
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)  # type: ignore[union-attr]
        for data in (own, others)
    )
    forged = x509.load_der_x509_csr(own.replace(mine, theirs))
    return forged.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (rsa_request, "must be EC P-256"),
        (p384_request, "must be EC P-256"),
        (forged_request, "not signed by its own key"),
        (lambda: "garbage", "not a certificate signing request"),
        (lambda: make_csr(make_key(), "x")[:-60], "not a certificate signing request"),
        (lambda: "\ud800", "not a certificate signing request"),
    ],
    ids=["rsa", "p384", "forged", "garbage", "truncated", "no unicode"],
)
def test_requests_with_another_key_or_none_are_refused(make: Callable[[], str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Mesh().authority.sign_leaf(WEB, make(), NOW_S, HOUR_S)


def test_a_leaf_of_another_root_with_the_same_name_is_refused() -> None:
    ours, theirs = Mesh(), Mesh()
    with pytest.raises(IdentityError, match="does not end at a root"):
        verify_chain([der(theirs.leaf())], ours.roots, NOW_S)


def test_a_leaf_of_another_trust_domain_is_refused_also_under_a_trusted_root() -> None:
    mesh = Mesh()
    foreign = msgspec.structs.replace(WEB, trust_domain="99999999-2222-4333-8444-555555555555.consul")
    with pytest.raises(IdentityError, match="trust domain"):
        verify_chain([der(mesh.leaf(foreign))], mesh.roots, NOW_S)
    with pytest.raises(IdentityError, match="trust domain"):
        peer_identity(der(mesh.leaf(foreign)), DOMAIN)
    with pytest.raises(IdentityError, match="trust domain"):
        peer_identity(der(mesh.leaf()), "")


def test_a_leaf_cannot_sign_another_leaf() -> None:
    mesh, key = Mesh(), make_key()
    leaf = certificate(mesh.authority.sign_leaf(WEB, make_csr(key, "x"), NOW_S, HOUR_S))
    admin = make_leaf(leaf, key, [x509.UniformResourceIdentifier(str(WEB).replace("web", "admin"))])
    with pytest.raises(IdentityError, match="not signed by the next"):
        verify_chain([admin, leaf.public_bytes(serialization.Encoding.DER)], mesh.roots, NOW_S)


def make_leaf(issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> bytes:
    moment = datetime.fromtimestamp(NOW_S, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(make_key().public_key())
        .serial_number(7)
        .not_valid_before(moment)
        .not_valid_after(moment + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [x509.DNSName("web")],
        [x509.UniformResourceIdentifier(str(WEB)), x509.UniformResourceIdentifier(str(WEB))],
        [x509.UniformResourceIdentifier(str(WEB)), x509.DNSName("admin")],
        [x509.UniformResourceIdentifier("spiffe://x/ns/default/dc/dc1/svc/web")],
        [x509.UniformResourceIdentifier(str(WEB) + "/../admin")],
    ],
    ids=["none", "dns", "two uris", "uri and dns", "foreign", "path"],
)
def test_a_leaf_with_other_names_than_one_good_uri_is_refused(names: list[x509.GeneralName]) -> None:
    mesh = Mesh()
    leaf = make_leaf(mesh.root, mesh.key, names)
    with pytest.raises(IdentityError):
        verify_chain([leaf], mesh.roots, NOW_S)
    with pytest.raises(IdentityError):
        peer_identity(leaf, DOMAIN)


def test_the_root_itself_is_no_service() -> None:
    mesh = Mesh()
    with pytest.raises(IdentityError):
        verify_chain([mesh.root.public_bytes(serialization.Encoding.DER)], mesh.roots, NOW_S)


@pytest.mark.parametrize("chain", [[], [b""], [b"\x30\x00"], [b"x"] * 5], ids=["none", "empty", "short", "long"])
def test_what_is_no_chain_is_refused(chain: list[bytes]) -> None:
    with pytest.raises(IdentityError):
        verify_chain(chain, Mesh().roots, NOW_S)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://d/ns/default/dc/dc1/svc/",
        "spiffe://d/ns/default/dc/dc1/svc/a/b",
        "spiffe://d/ns/default/dc/dc1/svc/%61",
        "spiffe://d/ns/default/dc/dc1/svc/a?x=1",
        "spiffe://d/ns/default/dc/dc1/svc/a#f",
        "spiffe://d/ns/default/dc/../svc/a",
        "spiffe://u@d/ns/default/dc/dc1/svc/a",
        "spiffe://d:1/ns/default/dc/dc1/svc/a",
        "SPIFFE://d/ns/default/dc/dc1/svc/a",
        "spiffe://D/ns/default/dc/dc1/svc/a",
        "spiffe://d/ns/default/dc/dc1/svc/a\n",
        "spiffe://d/ns/default/dc/dc1/svc/é",
    ],
)
def test_a_uri_that_could_be_read_in_two_ways_is_no_identity(uri: str) -> None:
    with pytest.raises(ValueError, match="not the SPIFFE id"):
        parse_spiffe(uri)


def test_an_identity_is_written_and_read_back() -> None:
    assert parse_spiffe(str(WEB)) == WEB


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a%20b", "a\n", "é", "x" * 129, "*"])
def test_names_that_do_not_mean_themselves_get_no_certificate(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_service_name(name)


def test_the_life_left_of_a_root_falls_from_one_below_zero() -> None:
    mesh = Mesh()
    assert mesh.authority.life_left(NOW_S) == pytest.approx(1.0, abs=1e-3)
    assert mesh.authority.life_left(NOW_S + 9 * YEAR_S) == pytest.approx(0.1, abs=1e-3)
    assert mesh.authority.life_left(NOW_S + 11 * YEAR_S) < 0


def test_an_authority_takes_only_its_own_key_and_shows_it_to_nobody() -> None:
    mesh = Mesh()
    with pytest.raises(ValueError, match="not that of the root"):
        Authority(mesh.root, make_key())
    assert "PRIVATE" not in repr(mesh.authority)
    again = load_key(key_pem(mesh.key))
    assert "PRIVATE" not in str(Authority(mesh.root, again))
    with pytest.raises(ValueError, match="not a private key"):
        load_key(b"garbage")


def test_openssl_takes_the_leaves_for_both_ends_of_tls_1_3(tmp_path: object) -> None:
    import pathlib
    import time

    folder = pathlib.Path(str(tmp_path))
    ca_key = make_key()
    root = make_root(ca_key, CLUSTER, time.time(), YEAR_S)
    authority = Authority(root, ca_key)
    root_pem = root.public_bytes(serialization.Encoding.PEM).decode()

    def context(purpose: int, name: str) -> ssl.SSLContext:
        key = make_key()
        identity = SpiffeService(trust_domain=DOMAIN, datacenter="dc1", service=name)
        leaf = authority.sign_leaf(identity, make_csr(key, name), time.time(), HOUR_S)
        file = folder / f"{name}.pem"
        file.write_bytes(leaf.cert_pem.encode() + key_pem(key))
        made = ssl.SSLContext(purpose)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.check_hostname = False
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0x20))
        made.load_verify_locations(cadata=root_pem)
        made.load_cert_chain(file)
        return made

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context(ssl.PROTOCOL_TLS_SERVER, "db").wrap_bio(to_server, to_client, server_side=True)
    client = context(ssl.PROTOCOL_TLS_CLIENT, "web").wrap_bio(to_client, to_server)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"
    seen_by_server = server.getpeercert(binary_form=True)
    seen_by_client = client.getpeercert(binary_form=True)
    assert seen_by_server is not None
    assert seen_by_client is not None
    assert peer_identity(seen_by_server, DOMAIN).service == "web"
    assert peer_identity(seen_by_client, DOMAIN).service == "db"
