"""The mesh's certificates: roots, intermediates, leaves. Pure but for the randomness of keys and serial numbers.

From a signing request only the public key is taken: names, extensions and lifetimes are ours. Called by the leader.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chowk.connect.ca.keys import COMMON_NAME_CHARS_MAX, make_key, public_key_of_csr
from chowk.connect.snapshot import SpiffeService
from chowk.core.records.ca import CARoot, LeafCertificate

BACKDATED_S: Final = 60.0
"""Certificates begin this long before they are made, for hosts whose clocks are behind."""
_CROSSED_PATH_LENGTH: Final = 1
"""Below a root that another vouches for stands its intermediate."""
_SERIAL_BITS: Final = 62
"""Of the root: its serial number is a field of a record, and travels as a 64-bit integer."""
_SERIAL_MASK: Final = 2**63 - 1
"""What a record shows of a longer serial number, which a root from elsewhere may have."""


class Authority:
    """A root or an intermediate with its private key. Never printed, never encoded: only its own methods use the key.

    `chain` is what a leaf must bring besides itself (PEM each), so that whoever trusts the root can verify it.
    """

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, chain: tuple[str, ...] = ()
    ) -> None:
        if _public_bytes(certificate.public_key()) != _public_bytes(key.public_key()):
            raise ValueError("the private key is not that of the root certificate")
        self._certificate = certificate
        self._key = key
        self.chain = chain

    def __repr__(self) -> str:
        return f"Authority({fingerprint(self._certificate)})"

    @property
    def key_id(self) -> str:
        """The colon-separated id of its key."""
        return _colons(key_id(self._certificate))

    def intermediate(self, now_s: float, ttl_s: float, *crossed: str) -> Authority:
        """A new authority under this one, valid for `ttl_s` from `now_s` (Unix), which signs leaves and nothing else.

        `crossed` are certificates (PEM) of this root by older ones: its leaves bring them too.
        """
        key = make_key()
        end = min(_time(now_s + ttl_s), self._certificate.not_valid_after_utc)
        public_key = key.public_key()
        builder = _signer(f"chowk intermediate {secrets.token_hex(4)}", public_key, path_length=0)
        certificate = self._sign(builder, now_s, end)
        return Authority(certificate, key, (_pem(certificate), *crossed))

    def cross_sign(self, root: x509.Certificate, now_s: float) -> str:
        """This root says that `root` is to be trusted (PEM): for those who trust only this one yet."""
        public_key = root.public_key()
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise ValueError("not an EC key")  # noqa: TRY004  a certificate whose content is wrong
        builder = _signer("", public_key, path_length=_CROSSED_PATH_LENGTH).subject_name(root.subject)
        end = min(root.not_valid_after_utc, self._certificate.not_valid_after_utc)
        return _pem(self._sign(builder, now_s, end))

    def _sign(self, builder: x509.CertificateBuilder, now_s: float, end: datetime) -> x509.Certificate:
        begin = max(_time(now_s - BACKDATED_S), self._certificate.not_valid_before_utc)
        return (
            builder.issuer_name(self._certificate.subject)
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(_authority_key_id(self._certificate), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def life_left(self, now_s: float) -> float:
        """The part of its certificate's life that is left at `now_s` (Unix): 1 down to 0, and below when it has ended.

        0 too when it has not begun, since a clock was set back: what it signs now proves nothing.
        """
        begin = self._certificate.not_valid_before_utc.timestamp()
        end = self._certificate.not_valid_after_utc.timestamp()
        return (end - now_s) / (end - begin) if now_s >= begin else 0.0

    def age_s(self, now_s: float) -> float:
        """Seconds since its certificate began."""
        return now_s - self._certificate.not_valid_before_utc.timestamp()

    def why_silent(self, now_s: float) -> str:
        """Why this root cannot vouch for another one at `now_s` (Unix); "" when it can (see `cross_sign`)."""
        if self.life_left(now_s) <= 0:
            return "it is not valid now"
        basic = self._certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if basic.path_length is not None and basic.path_length < _CROSSED_PATH_LENGTH + 1:
            return f"its path length is {basic.path_length}"
        return ""

    def sign_leaf(self, identity: SpiffeService, csr_pem: str, now_s: float, ttl_s: float) -> LeafCertificate:
        """A leaf for the CSR's public key that proves `identity`, valid `ttl_s` from `now_s` (Unix) or till this ends.

        InvalidRequest when the CSR is none, is not signed by its own key or has another kind of key.
        """
        public_key = public_key_of_csr(csr_pem)
        end = min(_time(now_s + ttl_s), self._certificate.not_valid_after_utc)
        uri = str(identity)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(identity.service))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )
        leaf = self._sign(builder, now_s, end)
        return LeafCertificate(
            serial_number=_colons(leaf.serial_number.to_bytes(20, "big").lstrip(b"\0")),
            cert_pem="".join((_pem(leaf), *self.chain)),
            service=identity.service,
            service_uri=uri,
            valid_after=_rfc3339(leaf.not_valid_before_utc),
            valid_before=_rfc3339(leaf.not_valid_after_utc),
        )


def make_root(key: ec.EllipticCurvePrivateKey, cluster_id: str, now_s: float, ttl_s: float) -> x509.Certificate:
    """A self-signed root of the trust domain `<cluster_id>.consul`."""
    public_key = key.public_key()
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key).digest
    name = f"chowk CA {cluster_id[:8]} {key_id[:4].hex()}"
    builder = _signer(name, public_key, path_length=None)
    certificate = (
        builder.issuer_name(_name(name))
        .not_valid_before(_time(now_s - BACKDATED_S))
        .not_valid_after(_time(now_s + ttl_s))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{cluster_id}.consul")]),
            critical=False,
        )
    )
    return certificate.sign(key, hashes.SHA256())


def root_record(root: x509.Certificate, *, active: bool) -> CARoot:
    """The root as the registry keeps it."""
    return CARoot(
        id=fingerprint(root),
        name="Consul CA Root Cert",
        serial_number=root.serial_number & _SERIAL_MASK,
        signing_key_id=_colons(key_id(root)),
        external_trust_domain=_domain(root),
        not_before=_rfc3339(root.not_valid_before_utc),
        not_after=_rfc3339(root.not_valid_after_utc),
        root_cert_pem=_pem(root),
        active=active,
    )


def fingerprint(certificate: x509.Certificate) -> str:
    """The colon-separated SHA-256 of a certificate."""
    return _colons(certificate.fingerprint(hashes.SHA256()))


def certificate_id(pem: str) -> str:
    """The fingerprint of a certificate in PEM. ValueError."""
    return fingerprint(x509.load_pem_x509_certificate(pem.encode()))


def _signer(name: str, public_key: ec.EllipticCurvePublicKey, *, path_length: int | None) -> x509.CertificateBuilder:
    """A certificate that may sign others, `path_length` authorities deep; without a subject when `name` is ""."""
    builder = (
        x509.CertificateBuilder()
        .public_key(public_key)
        .serial_number(1 + secrets.randbits(_SERIAL_BITS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    return builder.subject_name(_name(name)) if name else builder


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:COMMON_NAME_CHARS_MAX])])


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What a key may do: prove who holds it, and, an authority's, sign certificates."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_id(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(key_id(root), None, None)


def key_id(certificate: x509.Certificate) -> bytes:
    """The id of its key, by which what it signs names it (RFC 5280 section 4.2.1.2)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:  # a root from elsewhere need not say it
        public_key = certificate.public_key()
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise ValueError("not an EC key") from None  # noqa: TRY004  a certificate whose content is wrong
        return x509.SubjectKeyIdentifier.from_public_key(public_key).digest


def _domain(root: x509.Certificate) -> str:
    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    return uri.removeprefix("spiffe://").removesuffix(".consul")


def _public_bytes(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not an EC key")  # noqa: TRY004  the caller handed a certificate whose content is wrong
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _colons(data: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in data)
