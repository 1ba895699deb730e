"""The CA's configuration, checked and read. Keys are Consul's. Pure; called by endpoints and the leader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from chowk.core.durations import format_duration, parse_duration
from chowk.core.errors import InvalidRequest
from chowk.core.records.ca import CAConfiguration, CARoot

PROVIDER: Final = "consul"
HOUR_S: Final = 3600.0
YEAR_S: Final = 365 * 24 * HOUR_S
LEAF_TTL_S: Final = 72 * HOUR_S
INTERMEDIATE_TTL_S: Final = YEAR_S
ROOT_TTL_S: Final = 10 * YEAR_S
CSR_PER_SECOND: Final = 50.0
CSR_CONCURRENT_MAX: Final = 256
PRIVATE_KEY: Final = "PrivateKey"
ROOT_CERT: Final = "RootCert"
_KNOWN: Final = (
    PRIVATE_KEY,
    ROOT_CERT,
    "LeafCertTTL",
    "IntermediateCertTTL",
    "RootCertTTL",
    "RotationPeriod",
    "CSRMaxPerSecond",
    "CSRMaxConcurrent",
    "PrivateKeyType",
    "PrivateKeyBits",
)


class CASettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; 0 of `csr_per_second` means no limit, and then `csr_concurrent` counts, where 0 is none of its own.
    `rotation_period_s` 0: a root signs for half of its life.
    """

    leaf_ttl_s: float = LEAF_TTL_S
    intermediate_ttl_s: float = INTERMEDIATE_TTL_S
    root_ttl_s: float = ROOT_TTL_S
    rotation_period_s: float = 0.0
    csr_per_second: float = CSR_PER_SECOND
    csr_concurrent: int = 0


class OfferedRoot(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator brings, in PEM; "" is not brought. Never shown or kept as it is: see `provided`."""

    private_key: str = ""
    root_cert: str = ""

    def __repr__(self) -> str:
        return "OfferedRoot(…)"


def offered_root(configuration: CAConfiguration) -> OfferedRoot:
    """The root in a configuration that was written by somebody. InvalidRequest."""
    config = {_proper(key): value for key, value in configuration.config.items()}
    found = {name: config.get(name) or "" for name in (PRIVATE_KEY, ROOT_CERT)}
    for name, value in found.items():
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} must be text in PEM")
    return OfferedRoot(private_key=found[PRIVATE_KEY].strip(), root_cert=found[ROOT_CERT].strip())


def is_provided(configuration: CAConfiguration | None, root: CARoot) -> bool:
    """Whether the operator brought this root, and wants it still."""
    return configuration is not None and configuration.config.get(ROOT_CERT) == root.root_cert_pem


def shown_configuration(configuration: CAConfiguration | None, roots: Iterable[CARoot]) -> CAConfiguration:
    """As it may be shown: a root in it is one that signs, now or next, not one that was replaced since."""
    found = configuration or CAConfiguration()
    if any(is_provided(found, root) for root in roots if not root.rotated_out_at):
        return found
    kept = {key: value for key, value in found.config.items() if key != ROOT_CERT}
    return msgspec.structs.replace(found, config=kept)


def checked_configuration(configuration: CAConfiguration) -> CAConfiguration:
    """The configuration with its defaults filled in, and without a root (see `offered_root`): what this returns may be kept.
    InvalidRequest when it asks for what cannot be.
    """
    if configuration.provider != PROVIDER:
        raise InvalidRequest(f'unknown CA provider "{configuration.provider}": this server has "{PROVIDER}"')
    config = {_proper(key): value for key, value in configuration.config.items()}
    settings = read_settings(config)
    more: dict[str, Any] = {}
    if settings.rotation_period_s:
        more["RotationPeriod"] = format_duration(settings.rotation_period_s)
    if settings.csr_concurrent:
        more["CSRMaxConcurrent"] = settings.csr_concurrent
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
            **more,
        },
        state=None,
        force_without_cross_signing=False,
        create_index=0,
        modify_index=0,
    )


def read_settings(config: Mapping[str, Any]) -> CASettings:
    """What a configuration's keys say. InvalidRequest naming the key that is wrong."""
    settings = CASettings(
        leaf_ttl_s=_seconds(config, "LeafCertTTL", LEAF_TTL_S),
        intermediate_ttl_s=_seconds(config, "IntermediateCertTTL", INTERMEDIATE_TTL_S),
        root_ttl_s=_seconds(config, "RootCertTTL", ROOT_TTL_S),
        rotation_period_s=_seconds(config, "RotationPeriod", 0.0),
        csr_per_second=_rate(config, "CSRMaxPerSecond"),
        csr_concurrent=_count(config, "CSRMaxConcurrent"),
    )
    if not HOUR_S <= settings.leaf_ttl_s <= YEAR_S:
        raise InvalidRequest("LeafCertTTL must be between 1h and 8760h (a year)")
    if not settings.leaf_ttl_s <= settings.intermediate_ttl_s <= settings.root_ttl_s <= 3 * ROOT_TTL_S:
        raise InvalidRequest("LeafCertTTL, IntermediateCertTTL and RootCertTTL must not fall, and end at 30 years")
    if settings.rotation_period_s and not settings.leaf_ttl_s <= settings.rotation_period_s <= settings.root_ttl_s:
        raise InvalidRequest("RotationPeriod must be between LeafCertTTL and RootCertTTL, or left out")
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


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key, 0)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 0 <= value <= CSR_CONCURRENT_MAX:
        raise InvalidRequest(f"{key} must be a whole number from 0 (no limit of its own) to {CSR_CONCURRENT_MAX}")
    return int(value)
