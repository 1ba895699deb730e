"""Keys and signing requests of the mesh: EC P-256 only. Called where a key is used: by proxies, and by the CA."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chowk.core.errors import InvalidRequest

COMMON_NAME_CHARS_MAX = 64
"""X.520's upper bound of a common name."""


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM: for the owner's eyes only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-256 key from PEM. ValueError when it is none; the text never quotes the input."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not an EC P-256 private key")  # noqa: TRY004  what the bytes hold is wrong, not their type
    return key


def make_csr(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """A signing request (PEM) for `key`. `name` is for people who look at it: the CA takes nothing but the public key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:COMMON_NAME_CHARS_MAX] or "chowk")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def public_key_of_csr(pem: str) -> ec.EllipticCurvePublicKey:
    """The public key of a signing request whose maker holds the private one. InvalidRequest otherwise."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        valid = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise InvalidRequest("not a certificate signing request in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidRequest("the key of a signing request must be EC P-256")
    if not valid:
        raise InvalidRequest("the signing request is not signed by its own key")
    return key
