"""The mesh's certificate authority as everyone may see it: roots, configuration, leaves. No private key is in here,
but for `LeafCertificate.private_key_pem`, which an agent fills for its own `/v1/agent/connect/ca/leaf` clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chowk.core.records.base import Indexed, Record


def unix_s(moment: str) -> float:
    """A moment of these records (RFC 3339) in Unix seconds. ValueError."""
    return datetime.fromisoformat(moment).timestamp()


class CARoot(Indexed, frozen=True, kw_only=True):
    """One trusted root. `signing_key_id` is the colon-separated hex of the key id of the certificate that signs leaves.

    `intermediate_certs` are what leaves bring besides themselves (PEM): the intermediate that signs them, then this root
    signed by older ones. `rotated_out_at` (RFC 3339) is when it ceased to sign; "" while it signs, or is the next to.
    """

    id: str
    name: str
    serial_number: int
    signing_key_id: str
    external_trust_domain: str
    not_before: str
    not_after: str
    root_cert_pem: str = msgspec.field(name="RootCert")
    intermediate_certs: tuple[str, ...] = ()
    active: bool = False
    rotated_out_at: str = ""
    private_key_type: str = "ec"
    private_key_bits: int = 256


class CARoots(Record, frozen=True, kw_only=True):
    """All roots that a proxy trusts; leaves are signed under `active_root_id`. `trust_domain` is `<uuid>.consul`."""

    active_root_id: str = ""
    trust_domain: str = ""
    roots: tuple[CARoot, ...] = ()


class CAConfiguration(Indexed, frozen=True, kw_only=True):
    """The CA's settings. Keys of `config` are Consul's: LeafCertTTL, RootCertTTL, IntermediateCertTTL, CSRMaxPerSecond."""

    provider: str = "consul"
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    state: dict[str, str] | None = None
    force_without_cross_signing: bool = False


class LeafCertificate(Indexed, frozen=True, kw_only=True):
    """A signed leaf. `cert_pem` starts with the leaf; intermediates follow. Times are RFC 3339 UTC."""

    serial_number: str
    cert_pem: str = msgspec.field(name="CertPEM")
    private_key_pem: str = msgspec.field(default="", name="PrivateKeyPEM")
    service: str
    service_uri: str = msgspec.field(name="ServiceURI")
    valid_after: str
    valid_before: str
