"""What the HTTPS API listens with, and who owns Unix sockets: of `tls{}`, its older names, and `unix_sockets`. Called by
`assemble`. Files are named here and read where the listener starts.
"""

from __future__ import annotations

import re
from typing import Any

from chowk.agent.config.decode import Decoded
from chowk.agent.config.model import HttpsConfig, UnixSocketsConfig
from chowk.agent.config.problems import Problems

_MODE = re.compile(r"0?o?[0-7]{3,4}")
_SAME = ("cert_file", "key_file", "ca_file", "ca_path", "verify_incoming", "tls_min_version")


def https_of(whole: Decoded, problems: Problems, port: int) -> HttpsConfig:
    """The certificate of `ports.https`: `tls.https`, else `tls.defaults`, else the older names. `cert_file` is "" where
    there is none, and then nothing listens; a warning says so."""
    tls: Decoded | None = whole.get("tls")
    found: dict[str, Any] = whole.pick(**{name: name for name in _SAME})
    if "verify_incoming_https" in whole:
        found["verify_incoming"] = found.get("verify_incoming", False) or whole.get("verify_incoming_https")
    for name in ("defaults", "https"):
        block: Decoded | None = tls.get(name) if tls is not None else None
        found |= block.pick(**{key: key for key in _SAME}) if block is not None else {}
    version = found.pop("tls_min_version", "")
    limits: Decoded | None = whole.get("limits")
    config = HttpsConfig(
        **found,
        tls_1_3_only=version in ("TLSv1_3", "tls13"),
        **(limits.pick(handshake_timeout_s="https_handshake_timeout") if limits is not None else {}),
    )
    ports: Decoded | None = whole.get("ports")
    if port >= 0 and ports is not None:
        if not (config.cert_file and config.key_file):
            problems.warn(
                ports.at("https"),
                "ports.https: nothing will listen, for tls.https names no cert_file and key_file (`chowk tls cert create`)",
            )
            return HttpsConfig()
        if config.verify_incoming and not (config.ca_file or config.ca_path):
            problems.add(ports.at("https"), "tls.https.verify_incoming needs ca_file or ca_path: whom to trust")
    return config


def unix_sockets_of(whole: Decoded, problems: Problems) -> UnixSocketsConfig:
    """Owner, group and mode of the sockets that `addresses` names."""
    block: Decoded | None = whole.get("unix_sockets")
    if block is None:
        return UnixSocketsConfig()
    mode: str = block.get("mode", "") or "0600"
    if _MODE.fullmatch(mode) is None:
        problems.add(block.at("mode"), f'unix_sockets.mode: "{mode[:20]}" is no mode like "0660"')
        mode = "0600"
    return UnixSocketsConfig(**block.pick(user="user", group="group"), mode=int(mode.replace("o", ""), 8))
