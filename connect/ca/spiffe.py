"""SPIFFE ids of services: `spiffe://<trust domain>/ns/default/dc/<dc>/svc/<name>`. Pure.

Only names whose every character means itself in a URI can have an identity, so that no encoding can make one name look like
another. Called by the CA, by proxies and by `authorize`.
"""

from __future__ import annotations

import re
from typing import Final

from chowk.connect.snapshot import SpiffeService
from chowk.core.errors import InvalidRequest

URI_CHARS_MAX: Final = 2048
"""The longest SPIFFE id there may be (SPIFFE-ID section 2.3)."""
_PART: Final = r"[A-Za-z0-9._~-]{1,128}"
_DOMAIN: Final = r"[a-z0-9._-]{1,255}"
_ID: Final = re.compile(rf"spiffe://({_DOMAIN})/ns/({_PART})/dc/({_PART})/svc/({_PART})")
_NAME: Final = re.compile(_PART)
_DOTS: Final = (".", "..")


def check_service_name(name: str) -> None:
    """InvalidRequest when a service of this name cannot have an identity in the mesh."""
    if not _NAME.fullmatch(name) or name in _DOTS:
        raise InvalidRequest(
            "to have a certificate, a service needs a name of 1 to 128 letters, digits, '-', '_', '.' or '~',"
            f" not {name[:130]!r}"
        )


def parse_spiffe(uri: str) -> SpiffeService:
    """The parts of a service's SPIFFE id. ValueError when it is not exactly one."""
    match = _ID.fullmatch(uri) if len(uri) <= URI_CHARS_MAX else None
    if match is None or any(part in _DOTS for part in match.groups()):
        raise ValueError(f"not the SPIFFE id of a service: {uri[:256]!r}")
    domain, namespace, datacenter, service = match.groups()
    return SpiffeService(trust_domain=domain, namespace=namespace, datacenter=datacenter, service=service)
