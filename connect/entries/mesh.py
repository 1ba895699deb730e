"""Rules of the mesh entry. What would make a proxy read a path otherwise than the rules that judge it is refused."""

from __future__ import annotations

from typing import Final

from chowk.connect.entries import parts
from chowk.connect.entries.complaint import Complaint, Complaints, Place, shown
from chowk.core.records.mesh import Mesh, Normalization

NAME: Final = "mesh"
REGIONS_MAX: Final = 128
CIPHERS_MAX: Final = 64
TLS_VERSIONS: Final = ("", "TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
ESCAPED_SLASHES: Final = (
    "", "IMPLEMENTATION_SPECIFIC_DEFAULT", "REJECT_REQUEST", "UNESCAPE_AND_FORWARD", "UNESCAPE_AND_REDIRECT",
)  # fmt: skip
UNDERSCORES: Final = ("", "ALLOW", "REJECT_REQUEST", "DROP_HEADER")


def check(entry: Mesh) -> Complaints:
    """All rules of the kind."""
    if entry.name != NAME:
        yield Complaint(("name",), f'invalid name ({shown(entry.name)}), only "{NAME}" is supported')
    incoming = entry.http.incoming if entry.http is not None else None
    if incoming is not None and incoming.request_normalization is not None:
        yield from _normalization(incoming.request_normalization, ("http", "incoming", "request_normalization"))
    for side in ("incoming", "outgoing"):
        direction = getattr(entry.tls, side) if entry.tls is not None else None
        if direction is None:
            continue
        for name in ("tls_min_version", "tls_max_version"):
            yield from parts.one_of(getattr(direction, name), TLS_VERSIONS, ("tls", side, name))
        if direction.tls_max_version in TLS_VERSIONS[2:5]:
            yield Complaint(("tls", side, "tls_max_version"), "the mesh speaks TLS 1.3, and nothing older")
        if len(direction.cipher_suites) > CIPHERS_MAX:
            yield Complaint(("tls", side, "cipher_suites"), f"at most {CIPHERS_MAX}")
    if len(entry.allowed_regions) > REGIONS_MAX:
        yield Complaint(("allowed_regions",), f"at most {REGIONS_MAX} regions")
    for number, region in enumerate(entry.allowed_regions[:REGIONS_MAX]):
        yield from parts.label(region, ("allowed_regions", number), "name of a region")


def _normalization(settings: Normalization, place: Place) -> Complaints:
    if settings.insecure_disable_path_normalization:
        yield Complaint(
            (*place, "insecure_disable_path_normalization"),
            "is refused: paths are always normalised, or intentions on paths could be walked around",
        )
    action = settings.path_with_escaped_slashes_action
    if action == "KEEP_UNCHANGED":
        yield Complaint(
            (*place, "path_with_escaped_slashes_action"),
            "KEEP_UNCHANGED is refused: an escaped slash could lead around an intention on paths",
        )
    else:
        yield from parts.one_of(action, ESCAPED_SLASHES, (*place, "path_with_escaped_slashes_action"))
    place = (*place, "headers_with_underscores_action")
    yield from parts.one_of(settings.headers_with_underscores_action, UNDERSCORES, place)
