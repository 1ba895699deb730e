"""Roots as operators might bring them: right ones, and each kind of wrong one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chowk.connect.ca.certificates import key_usage
from chowk.connect.ca.keys import make_key

CLUSTER = "11111111-2222-3333-4444-555555555555"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`ca`, `signs`: None leaves the extension out. `forged`: signed by another key under its own name."""

    subject: str = "the mesh of ACME"
    issuer: str | None = None
    forged: bool = False
    lives_days: float = 3650
    lived_days: float = 1
    ca: bool | None = True
    path_length: int | None = None
    signs: bool | None = True
    uris: tuple[str, ...] | None = None
    purposes: tuple[x509.ObjectIdentifier, ...] = ()
    constrained: bool = False
    unknown: bool = False
    key_id: bool = True
    serial: int | None = None


RIGHT = Wanted()


def made(
    key: ec.EllipticCurvePrivateKey, now_s: float, wanted: Wanted = RIGHT, cluster: str = CLUSTER
) -> x509.Certificate:
    """A root of `key`, valid around `now_s` (Unix)."""
    begin = datetime.fromtimestamp(now_s, UTC) - timedelta(days=wanted.lived_days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(wanted.subject))
        .issuer_name(_name(wanted.subject if wanted.issuer is None else wanted.issuer))
        .public_key(key.public_key())
        .serial_number(wanted.serial or x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=wanted.lives_days))
    )
    for extension, critical in _extensions(key, wanted, cluster):
        builder = builder.add_extension(extension, critical)
    return builder.sign(make_key() if wanted.forged else key, hashes.SHA256())


def _extensions(key: ec.EllipticCurvePrivateKey, wanted: Wanted, cluster: str) -> list[tuple[x509.ExtensionType, bool]]:
    uris = (f"spiffe://{cluster}.consul",) if wanted.uris is None else wanted.uris
    found: list[tuple[x509.ExtensionType, bool]] = []
    if wanted.ca is not None:
        found.append((x509.BasicConstraints(wanted.ca, wanted.path_length if wanted.ca else None), True))
    if wanted.signs is not None:
        found.append((key_usage(signs_certificates=wanted.signs), True))
    if uris:
        found.append((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), False))
    if wanted.purposes:
        found.append((x509.ExtendedKeyUsage(wanted.purposes), False))
    if wanted.constrained:
        found.append((x509.NameConstraints([x509.DNSName("example.com")], None), True))
    if wanted.unknown:
        found.append((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True))
    if wanted.key_id:
        found.append((x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False))
    return found


def as_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])
