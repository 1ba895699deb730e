"""The request target (RFC 9112 section 3.2) and the host it is for. Called by `heads`."""

from __future__ import annotations

import re
from typing import Final

from chowk.connect.http1.path import normalise
from chowk.connect.http1.refusal import Refusal

_AUTHORITY: Final = re.compile(rb"(?:[0-9A-Za-z._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?#]*)([^?]*)(?:\?(.*))?", re.IGNORECASE)
_NAMED: Final = re.compile(rb"([^:\[\]]+)((?::[0-9]+)?)")
_NOWHERE: Final = b""


def is_authority(value: bytes) -> bool:
    """Whether this is a host name or address, with or without a port."""
    return _AUTHORITY.fullmatch(value) is not None


def suffixed(authority: bytes, suffix: bytes) -> bytes:
    """The host with a suffix to its name, before the port. Addresses in brackets have no name and stay as they are."""
    match = _NAMED.fullmatch(authority)
    return authority if match is None else match[1] + suffix + match[2]


def split_target(
    method: str, target: bytes, host: bytes | None, minor_version: int
) -> tuple[bytes, bytes, bytes | None, bytes]:
    """`(path, key, query, authority)` of a target of visible ASCII. Refusal 400."""
    if host is None:
        if minor_version == 1:
            raise Refusal(400, "host", "an HTTP/1.1 request without Host")
    elif not _AUTHORITY.fullmatch(host):
        raise Refusal(400, "host", "a Host that is no host name or address with a port")
    if b"#" in target:
        raise Refusal(400, "target", "a request target with a fragment")
    if method == "CONNECT":
        return _connect(target, host)
    if target[:1] == b"/":
        raw, mark, query = target.partition(b"?")
        return *normalise(raw), query if mark else None, host or _NOWHERE
    if target == b"*":
        if method != "OPTIONS":
            raise Refusal(400, "target", "the target * belongs to OPTIONS alone")
        return b"*", b"*", None, host or _NOWHERE
    return _absolute(target, host)


def _connect(target: bytes, host: bytes | None) -> tuple[bytes, bytes, bytes | None, bytes]:
    if not _AUTHORITY.fullmatch(target) or not target.rpartition(b":")[2].isdigit() or target.endswith(b"]"):
        raise Refusal(400, "target", "the target of CONNECT is not host:port")
    if host is not None and host.lower() not in (target.lower(), target.lower().rpartition(b":")[0]):
        raise Refusal(400, "host_mismatch", "Host and the request target name different hosts")
    return b"", b"", None, target


def _absolute(target: bytes, host: bytes | None) -> tuple[bytes, bytes, bytes | None, bytes]:
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _AUTHORITY.fullmatch(match[2]):
        raise Refusal(400, "target", "a request target that is neither a path nor an http address")
    if host is not None and _with_port(host, match[1]) != _with_port(match[2], match[1]):
        raise Refusal(400, "host_mismatch", "Host and the request target name different hosts")
    return *normalise(match[3] or b"/"), match[4], match[2]


def _with_port(authority: bytes, scheme: bytes) -> bytes:
    _name, colon, port = authority.lower().rpartition(b":")
    if colon and port.isdigit():
        return authority.lower()
    return authority.lower() + (b":443" if scheme.lower() == b"https" else b":80")
