"""The certificates that `chowk tls` writes: EC P-256, by the cryptography library. Called by `tls`, as late as it can."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chowk.connect.ca.certificates import key_usage

SKEW = datetime.timedelta(minutes=1)


class Pair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class BadFile(Exception):
    """What was read is no authority, or what was asked for cannot be in a certificate."""


def make_authority(
    domain: str, days: int, *, common_name: str = "", cluster_id: str = "", constraints: Sequence[str] = ()
) -> Pair:
    """A self-signed authority. With `constraints` it may sign these domains only, and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (common_name or f"chowk agent CA {serial}")[:64])])
    builder = _builder(name, name, key.public_key(), days, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    if cluster_id:
        uri = x509.UniformResourceIdentifier(f"spiffe://{cluster_id}.{domain}")
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    if constraints:
        permitted = [x509.DNSName(one) for one in dict.fromkeys(constraints)]
        builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    certificate = builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())
    return _pair(certificate, key)


def make_certificate(
    ca_pem: bytes, ca_key_pem: bytes, names: Sequence[str], addresses: Sequence[str], days: int, *, listens: bool
) -> Pair:
    """A certificate of the authority for DNS `names`, the first of which is its own, and IP `addresses`. One that does not
    listen can only be shown. BadFile."""
    try:
        authority = x509.load_pem_x509_certificate(ca_pem)
        ca_key = serialization.load_pem_private_key(ca_key_pem, None)
    except (ValueError, TypeError) as error:
        raise BadFile(f"cannot be read: {error}") from error
    if ca_key.public_key() != authority.public_key():
        raise BadFile("the key is not that of the authority")
    try:
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(names)]
        alternatives += [x509.IPAddress(ip_address(address)) for address in dict.fromkeys(addresses)]
    except ValueError as error:
        raise BadFile(str(error)) from error
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(authority.subject, subject, key.public_key(), days, x509.random_serial_number())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if listens else [])]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    issuer: CertificatePublicKeyTypes = authority.public_key()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)  # type: ignore[arg-type]
    signer: CertificateIssuerPrivateKeyTypes = ca_key  # type: ignore[assignment]
    return _pair(builder.add_extension(identifier, critical=False).sign(signer, hashes.SHA256()), key)


def _builder(
    issuer: x509.Name, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int, serial: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), private)
