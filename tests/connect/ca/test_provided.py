"""A root that an operator brings: what is taken, and what is refused with what to do."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from chowk.connect.ca.certificates import root_record
from chowk.connect.ca.keys import key_pem, make_key
from chowk.connect.ca.provided import PEM_CHARS_MAX, Offer, read_offer
from chowk.connect.ca.settings import OfferedRoot
from chowk.core.errors import InvalidRequest
from support.provided_root import CLUSTER, Wanted, as_pem, made

NOW_S = 1_900_000_000.0
KEY = make_key()


def offer(private_key: str = "", root_cert: str = "", known: tuple[str, ...] = ()) -> Offer | None:
    return read_offer(OfferedRoot(private_key=private_key, root_cert=root_cert), known, CLUSTER, NOW_S, 1e8)


def test_a_root_as_openssl_and_consul_make_them_is_taken() -> None:
    for wanted in (Wanted(), Wanted(path_length=1), Wanted(key_id=False), Wanted(serial=2**159 - 1)):
        root = made(KEY, NOW_S, wanted)
        found = offer(key_pem(KEY).decode(), as_pem(root))
        assert found is not None
        assert (found.root, found.key is not None) == (root, True)
        record = root_record(found.root, active=False)
        assert (record.external_trust_domain, record.root_cert_pem) == (CLUSTER, as_pem(root))
        assert record.serial_number < 2**63
        assert record.signing_key_id


def test_a_key_alone_gets_a_root_and_the_same_root_the_next_time() -> None:
    first = offer(key_pem(KEY).decode())
    assert first is not None
    assert first.root.public_key() == KEY.public_key()
    again = offer(key_pem(KEY).decode(), known=(as_pem(first.root),))
    assert again == Offer(first.root, None)


def test_a_root_that_signs_already_needs_no_key_and_may_bring_it() -> None:
    pem = as_pem(made(KEY, NOW_S, Wanted(lives_days=10, lived_days=9.9)))
    assert offer(root_cert=pem, known=(pem,)) == Offer(x509.load_pem_x509_certificate(pem.encode()), None)
    assert offer(key_pem(KEY).decode(), pem, known=(pem,)) == offer(root_cert=pem, known=(pem,))
    with pytest.raises(InvalidRequest, match="it is not the key of RootCert"):
        offer(key_pem(make_key()).decode(), pem, known=(pem,))
    with pytest.raises(InvalidRequest, match="bring its PrivateKey too"):
        offer(root_cert=pem)
    assert offer() is None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(ca=False), "basicConstraints = critical,CA:TRUE"),
        (Wanted(ca=None), "basicConstraints = critical,CA:TRUE"),
        (Wanted(path_length=0), "leave pathlen out"),
        (Wanted(signs=False), "keyUsage = critical,keyCertSign"),
        (Wanted(signs=None), "keyUsage = critical,keyCertSign"),
        (Wanted(uris=()), f"subjectAltName = URI:spiffe://{CLUSTER}.consul"),
        (Wanted(uris=("spiffe://other.consul",)), f"must be spiffe://{CLUSTER}.consul"),
        (Wanted(uris=(f"spiffe://{CLUSTER}.consul", "spiffe://other.consul")), "its one URI must be"),
        (Wanted(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)), "extended key usage"),
        (Wanted(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "extended key usage"),
        (Wanted(constrained=True), "constrains names"),
        (Wanted(unknown=True), r"critical extension 1\.2\.3\.4 is not known"),
        (Wanted(subject=""), "no subject"),
        (Wanted(issuer="another CA"), "not signed by itself"),
        (Wanted(forged=True), "not signed by itself"),
        (Wanted(lived_days=-1), "not valid before 2030"),
        (Wanted(lives_days=10, lived_days=11), "it ended at 2030"),
        (Wanted(lives_days=10, lived_days=9.5), "less than a tenth"),
    ],
)  # fmt: skip
def test_a_root_that_the_mesh_could_not_live_with_is_refused_with_what_to_do(wanted: Wanted, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        offer(key_pem(KEY).decode(), as_pem(made(KEY, NOW_S, wanted)))


def other_keys() -> dict[str, bytes]:
    pkcs8, nothing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return {
        "RSA": rsa.generate_private_key(65537, 2048).private_bytes(pem, pkcs8, nothing),
        "P-384": ec.generate_private_key(ec.SECP384R1()).private_bytes(pem, pkcs8, nothing),
        "a passphrase": KEY.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"x")),
        "garbage": b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        "long": key_pem(KEY).rjust(PEM_CHARS_MAX + 400),
    }


@pytest.mark.parametrize("what", ["RSA", "P-384", "a passphrase", "garbage", "long"])
def test_another_key_is_refused_and_never_quoted(what: str) -> None:
    pem = other_keys()[what]
    with pytest.raises(InvalidRequest, match="PrivateKey: not a") as caught:
        offer(pem.decode())
    body = pem.split(b"\n")[1].decode()
    assert body not in str(caught.value)
    assert "openssl ecparam" in str(caught.value)


@pytest.mark.parametrize("pem", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(pem: str) -> None:
    with pytest.raises(InvalidRequest, match="RootCert: not a certificate in PEM"):
        offer(key_pem(KEY).decode(), pem)


def test_a_bundle_and_another_kind_of_key_are_refused() -> None:
    pem = as_pem(made(KEY, NOW_S))
    with pytest.raises(InvalidRequest, match="2 certificates: give the root alone"):
        offer(key_pem(KEY).decode(), pem + pem)
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(InvalidRequest, match="not the key of RootCert"):
        offer(key_pem(KEY).decode(), as_pem(made(other, NOW_S)))
