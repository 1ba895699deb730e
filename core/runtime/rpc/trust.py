"""What the gossip keys prove: a certificate authority for each key, and certificates that every holder of the key can make.

Pure but for the randomness of leaf keys and signatures. Called by `identity`. docs/decisions/007-cluster-trust.md says why.

A key is stretched by HKDF-SHA256 (RFC 5869) to the authority's EC P-256 key, by "extra random bits" (FIPS 186-5 A.2.1).
Each holder builds the same authority: name, dates and serial are fixed, so that a certificate made on one host chains to
the authority made on another. Their self-signatures differ, which matters to nobody: what is trusted is the key.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

INFO: Final = b"chowk rpc ca v1"
BACKDATED_S: Final = 24 * 3600.0
LIFE_S: Final = 7 * 24 * 3600.0

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CA_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
_CA_UNTIL: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280 4.1.2.5: no end. An authority ends when its key leaves the keyring."""

_URI: Final = re.compile(r"chowk://([^/]{1,768})/(server|agent)/([0-9A-Za-z-]{1,64})/([^/]{1,768})")


class Holder(msgspec.Struct, frozen=True):
    """Who holds a certificate: SAN `chowk://<datacenter>/<role>/<node id>/<node name>`."""

    datacenter: str
    role: str
    node_id: str
    node: str

    @property
    def uri(self) -> str:
        """The one SAN of the certificate."""
        return f"chowk://{quote(self.datacenter, safe='')}/{self.role}/{self.node_id}/{quote(self.node, safe='')}"


def parse_holder(uri: str) -> Holder:
    """The holder a URI names. ValueError when it is not exactly the URI that holder would have."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise ValueError(f"not the name of a member: {uri[:256]!r}")
    datacenter, role, node_id, node = match.groups()
    holder = Holder(unquote(datacenter), role, node_id, unquote(node))
    if holder.uri != uri:
        raise ValueError(f"not the only way to write this name: {uri[:256]!r}")
    return holder


class Authority:
    """The certificate authority of one gossip key."""

    def __init__(self, gossip_key: bytes) -> None:
        stretched = HKDF(algorithm=hashes.SHA256(), length=48, salt=None, info=INFO).derive(gossip_key)
        self._key = ec.derive_private_key(int.from_bytes(stretched, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())
        public = self._key.public_key()
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        self._name = _name(f"chowk cluster {self._identifier.digest.hex()}")
        signs = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(int.from_bytes(hashlib.sha256(self._identifier.digest).digest()[:8], "big") | 1)
            .not_valid_before(_CA_FROM)
            .not_valid_after(_CA_UNTIL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        """The certificate that others' certificates chain to."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def mint(self, holder: Holder, wall_s: float) -> bytes:
        """A certificate with its fresh key, PEM. Valid from BACKDATED_S before `wall_s` (Unix) until LIFE_S after it."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.fromtimestamp(int(wall_s), UTC)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        proves = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(f"chowk {holder.role}"))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=BACKDATED_S))
            .not_valid_after(now + timedelta(seconds=LIFE_S))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(holder.uri)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(proves, critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM) + secret


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
