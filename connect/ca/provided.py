"""A root that the operator brings: its key and certificate, judged before anything in the mesh depends on them. Pure.

Trust boundary: whoever may write the CA's configuration may choose what the whole mesh trusts, so nothing is taken that
proxies would then refuse, or that could sign for another mesh. No text quotes a key. Called by the leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeGuard

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from chowk.connect.ca.certificates import make_root
from chowk.connect.ca.keys import load_key
from chowk.connect.ca.rotation import PROVIDED_RENEW_PART
from chowk.connect.ca.settings import OfferedRoot
from chowk.core.errors import InvalidRequest

PEM_CHARS_MAX: Final = 16_384
_USAGES: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_CRITICAL_KNOWN: Final = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


class Offer(NamedTuple):
    """A root that was brought; `key` None: the mesh has it already."""

    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None


def read_offer(
    offered: OfferedRoot, known: Sequence[str], cluster_id: str, now_s: float, root_ttl_s: float
) -> Offer | None:
    """What was brought, None when nothing was. `known` are the roots (PEM) that sign, now or next: one of them needs no key.
    A key alone gets a new root of its own. InvalidRequest saying what to do.
    """
    if not offered.private_key and not offered.root_cert:
        return None
    key = _read_private_key(offered.private_key) if offered.private_key else None
    held = [x509.load_pem_x509_certificate(pem.encode()) for pem in known]
    if offered.root_cert:
        root = _read_root(offered.root_cert)
        if key is None and root not in held:
            raise InvalidRequest("RootCert: it is not the root that signs now: bring its PrivateKey too")
        if key is not None and not _is_key_of(key, root):
            raise InvalidRequest("PrivateKey: it is not the key of RootCert")
    elif key is not None:
        of_key = (each for each in held if _is_key_of(key, each))
        root = next(of_key, None) or make_root(key, cluster_id, now_s, root_ttl_s)
    if root in held:
        return Offer(root, None)
    complaint = _complaint(root, f"{cluster_id}.consul", now_s)
    if complaint:
        raise InvalidRequest(f"RootCert: {complaint}")
    return Offer(root, key)


def _read_private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """The key of a root. InvalidRequest."""
    try:
        return load_key(pem[:PEM_CHARS_MAX].encode())
    except ValueError as error:
        raise InvalidRequest(
            f"PrivateKey: {error}, without a passphrase: openssl ecparam -name prime256v1 -genkey -noout makes one"
        ) from None


def _read_root(pem: str) -> x509.Certificate:
    """The one certificate of a PEM text. InvalidRequest."""
    try:
        found = x509.load_pem_x509_certificates(pem[:PEM_CHARS_MAX].encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidRequest("RootCert: not a certificate in PEM") from None
    if len(found) != 1:
        raise InvalidRequest(f"RootCert: {len(found)} certificates: give the root alone")
    return found[0]


def _is_key_of(key: ec.EllipticCurvePrivateKey, root: x509.Certificate) -> bool:
    return key.public_key() == root.public_key()


def _complaint(root: x509.Certificate, trust_domain: str, now_s: float) -> str:
    public_key = root.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
        return "its key must be EC P-256, as all keys of the mesh"
    if not root.subject.rdns:
        return "it has no subject: name it, as in /CN=my mesh"
    if root.subject != root.issuer or not _signed_by_itself(root):
        return "it is not signed by itself: proxies trust roots, not what another authority has signed"
    try:
        return _about_extensions(root.extensions, trust_domain) or _about_time(root, now_s)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        return f"its extensions cannot be read: {error}"


def _signed_by_itself(root: x509.Certificate) -> bool:
    try:
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _about_extensions(extensions: x509.Extensions, trust_domain: str) -> str:
    held = {each.oid: each.value for each in extensions}
    basic = held.get(ExtensionOID.BASIC_CONSTRAINTS)
    if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
        return "it may not sign others: add basicConstraints = critical,CA:TRUE"
    if basic.path_length == 0:
        return "its path length is 0, but an intermediate signs the leaves: leave pathlen out"
    usage = held.get(ExtensionOID.KEY_USAGE)
    if not isinstance(usage, x509.KeyUsage) or not usage.key_cert_sign:
        return "its key usage lacks the signing of certificates: add keyUsage = critical,keyCertSign,cRLSign"
    uri = f"spiffe://{trust_domain}"
    names = held.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if _is_names(names) else []
    if uris != [uri]:
        return f"it is not of this mesh: its one URI must be {uri}: add subjectAltName = URI:{uri}"
    purposes = held.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if isinstance(purposes, x509.ExtendedKeyUsage):
        allowed = set(purposes)
        if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in allowed and not allowed >= _USAGES:
            return "its extended key usage lacks both ends of TLS: leave that extension out"
    if ExtensionOID.NAME_CONSTRAINTS in held:
        return "it constrains names, which proxies do not judge alike: leave that extension out"
    unknown = sorted(each.oid.dotted_string for each in extensions if each.critical and each.oid not in _CRITICAL_KNOWN)
    return f"the critical extension {unknown[0]} is not known here: leave it out" if unknown else ""


def _is_names(value: object) -> TypeGuard[x509.SubjectAlternativeName]:
    return isinstance(value, x509.SubjectAlternativeName)


def _about_time(root: x509.Certificate, now_s: float) -> str:
    begin, end = root.not_valid_before_utc, root.not_valid_after_utc
    if now_s < begin.timestamp():
        return f"it is not valid before {begin:%Y-%m-%dT%H:%M:%SZ}"
    if now_s >= end.timestamp():
        return f"it ended at {end:%Y-%m-%dT%H:%M:%SZ}"
    if (end.timestamp() - now_s) / (end - begin).total_seconds() <= PROVIDED_RENEW_PART:
        return (
            f"it ends at {end:%Y-%m-%dT%H:%M:%SZ}: less than a tenth of its life is left; bring one that lives longer"
        )
    return ""
