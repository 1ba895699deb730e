"""The CA's configuration, checked and read. Keys are Consul's. Pure; called by endpoints and the leader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from chowk.core.durations import format_duration, parse_duration
from chowk.core.errors import InvalidRequest
from chowk.core.records.ca import CAConfiguration

PROVIDER: Final = "consul"
HOUR_S: Final = 3600.0
YEAR_S: Final = 365 * 24 * HOUR_S
LEAF_TTL_S: Final = 72 * HOUR_S
INTERMEDIATE_TTL_S: Final = YEAR_S
ROOT_TTL_S: Final = 10 * YEAR_S
CSR_PER_SECOND: Final = 50.0
_KNOWN: Final = (
    "LeafCertTTL",
    "IntermediateCertTTL",
    "RootCertTTL",
    "CSRMaxPerSecond",
    "PrivateKeyType",
    "PrivateKeyBits",
)


class CASettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; `csr_per_second` 0 means no limit."""

    leaf_ttl_s: float = LEAF_TTL_S
    intermediate_ttl_s: float = INTERMEDIATE_TTL_S
    root_ttl_s: float = ROOT_TTL_S
    csr_per_second: float = CSR_PER_SECOND


def checked_configuration(configuration: CAConfiguration) -> CAConfiguration:
    """The configuration with its defaults filled in. InvalidRequest when it asks for what cannot be."""
    if configuration.provider != PROVIDER:
        raise InvalidRequest(f'unknown CA provider "{configuration.provider}": this server has "{PROVIDER}"')
    config = {_proper(key): value for key, value in configuration.config.items()}
    settings = read_settings(config)
    for name in ("PrivateKeyType", "PrivateKeyBits"):
        if config.get(name, {"PrivateKeyType": "ec", "PrivateKeyBits": 256}[name]) not in ("ec", 256, "256"):
            raise InvalidRequest(f"{name}: keys of the mesh are EC P-256: leave it out")
    return msgspec.structs.replace(
        configuration,
        config={
            "LeafCertTTL": format_duration(settings.leaf_ttl_s),
            "IntermediateCertTTL": format_duration(settings.intermediate_ttl_s),
            "RootCertTTL": format_duration(settings.root_ttl_s),
            "CSRMaxPerSecond": settings.csr_per_second,
        },
        state=None,
        create_index=0,
        modify_index=0,
    )


def read_settings(config: Mapping[str, Any]) -> CASettings:
    """What a configuration's keys say. InvalidRequest naming the key that is wrong."""
    settings = CASettings(
        leaf_ttl_s=_seconds(config, "LeafCertTTL", LEAF_TTL_S),
        intermediate_ttl_s=_seconds(config, "IntermediateCertTTL", INTERMEDIATE_TTL_S),
        root_ttl_s=_seconds(config, "RootCertTTL", ROOT_TTL_S),
        csr_per_second=_rate(config, "CSRMaxPerSecond"),
    )
    if not HOUR_S <= settings.leaf_ttl_s <= YEAR_S:
        raise InvalidRequest("LeafCertTTL must be between 1h and 8760h (a year)")
    if not settings.leaf_ttl_s <= settings.intermediate_ttl_s <= settings.root_ttl_s <= 3 * ROOT_TTL_S:
        raise InvalidRequest("LeafCertTTL, IntermediateCertTTL and RootCertTTL must not fall, and end at 30 years")
    return settings


def _proper(key: str) -> str:
    """Files may write keys in snake case: leaf_cert_ttl."""
    folded = key.replace("_", "").lower()
    found = next((known for known in _KNOWN if known.lower() == folded), None)
    if found is None:
        raise InvalidRequest(f'unknown key "{key}" in the CA configuration: use {", ".join(_KNOWN)}')
    return found


def _seconds(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key)
    if value is None or value == "":
        return default
    try:
        return parse_duration(value) if isinstance(value, str) else float(value) / 1e9
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidRequest(f"{key}: {error}") from error


def _rate(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key, CSR_PER_SECOND)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
        raise InvalidRequest(f"{key} must be a number from 0 (no limit) to 1000000")
    return float(value)
