"""Who is at the other end of a mutual TLS connection: the chain and the one URI of its leaf, judged by us on every path.

TLS (OpenSSL) checks the chain too; `peer_identity` is what it does not check. Pure; called by proxies and `authorize`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from chowk.connect.ca.certificates import key_id
from chowk.connect.ca.spiffe import parse_spiffe
from chowk.connect.snapshot import SpiffeService
from chowk.core.records.ca import CARoots

CHAIN_MAX = 4


class IdentityError(ValueError):
    """The certificate does not prove a service's identity; the text says why."""


def peer_identity(leaf_der: bytes, trust_domain: str) -> SpiffeService:
    """The identity a leaf (DER) claims; its chain must have been verified by TLS. IdentityError.

    A leaf with more than one name of any kind is refused: another check might look at another name.
    """
    leaf = _load_der(leaf_der)
    return _identity(leaf, trust_domain)


def signing_keys(roots: CARoots) -> frozenset[bytes]:
    """The ids of the keys that sign leaves under `roots`: their own, and those of their intermediates. ValueError when one
    cannot be read.
    """
    authorities = [*_anchors(roots)]
    for root in roots.roots:
        authorities += [x509.load_pem_x509_certificate(pem.encode()) for pem in root.intermediate_certs]
    return frozenset(map(key_id, authorities))


def signed_by(leaf_der: bytes | None, keys: Collection[bytes]) -> bool:
    """Whether a leaf (DER) that was verified says that one of `keys` (ids) signed it."""
    if not leaf_der:
        return False
    try:
        extension = x509.load_der_x509_certificate(leaf_der).extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier
        )
    except (ValueError, x509.ExtensionNotFound):
        return False
    return extension.value.key_identifier in keys


def verify_chain(chain_der: Sequence[bytes], roots: CARoots, now_s: float) -> SpiffeService:
    """The identity that a chain (leaf first, DER) proves under `roots` at `now_s` (Unix seconds). IdentityError."""
    if not 1 <= len(chain_der) <= CHAIN_MAX:
        raise IdentityError(f"a chain has 1 to {CHAIN_MAX} certificates")
    chain = [_load_der(der) for der in chain_der]
    anchors = _anchors(roots)
    now = datetime.fromtimestamp(now_s, UTC)
    _check_path(chain, anchors, now)
    _check_purpose(chain[0])
    return _identity(chain[0], roots.trust_domain)


def _check_path(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime) -> None:
    """Each is signed by the next, until one is signed by a trusted root: what follows it is for who trusts other roots."""
    for depth, certificate in enumerate(chain):
        _check_time(certificate, now)
        root = next(
            (root for root in anchors if root.subject == certificate.issuer and _signed(certificate, root)), None
        )
        if root is not None:
            _check_time(root, now)
            return
        if depth + 1 < len(chain):
            _check_signed(certificate, chain[depth + 1], depth)
    raise IdentityError("the chain does not end at a root that this mesh trusts")


def _identity(leaf: x509.Certificate, trust_domain: str) -> SpiffeService:
    try:
        names: list[x509.GeneralName] = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise IdentityError(f"the certificate has no readable subject alternative name: {error}") from error
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise IdentityError("the certificate must have one URI as its only subject alternative name")
    try:
        identity = parse_spiffe(names[0].value)
    except ValueError as error:
        raise IdentityError(str(error)) from error
    if not trust_domain or identity.trust_domain != trust_domain:
        raise IdentityError(
            f"the certificate is of trust domain {identity.trust_domain}, not of {trust_domain or 'ours'}"
        )
    return identity


def _anchors(roots: CARoots) -> list[x509.Certificate]:
    found = []
    for root in roots.roots:
        try:
            found.append(x509.load_pem_x509_certificate(root.root_cert_pem.encode()))
        except ValueError as error:
            raise IdentityError(f"the trusted root {root.id} cannot be read: {error}") from error
    return found


def _load_der(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise IdentityError(f"not a certificate: {error}") from error


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise IdentityError(f"a certificate is not valid before {certificate.not_valid_before_utc}")
    if now > certificate.not_valid_after_utc:
        raise IdentityError(f"a certificate expired at {certificate.not_valid_after_utc}")


def _check_signed(child: x509.Certificate, parent: x509.Certificate, authorities_below: int) -> None:
    """`authorities_below` is how many authorities of the chain stand between the parent and the leaf (RFC 5280, 4.2.1.9)."""
    allowed = (
        parent.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length if _may_sign(parent) else 0
    )
    if (allowed is not None and authorities_below > allowed) or not _signed(child, parent):
        raise IdentityError("a certificate of the chain is not signed by the next one")


def _signed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    if not _may_sign(parent):
        return False
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return basic.ca and usage.key_cert_sign


def _check_purpose(leaf: x509.Certificate) -> None:
    if _may_sign(leaf):
        raise IdentityError("a certificate that signs others cannot be a service's")
    usages: Iterable[x509.ObjectIdentifier]
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise IdentityError(f"the certificate does not say what it is for: {error}") from error
    if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH} & set(usages):
        raise IdentityError("the certificate is for neither end of a TLS connection")
