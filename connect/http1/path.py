"""The one normaliser of request paths. Routing, L7 intentions and forwarding use its result, so they cannot disagree.

What servers read in different ways is refused, not guessed. Called by `heads` for every request, and by `connect.routing`
for the paths of rules.

Two forms come out. `path` goes on the wire: percent-encoded unreserved bytes decoded, other escapes in upper case, slashes
merged, dot segments removed (RFC 3986 section 6.2.2). `key` is what rules are compared with: `path` with every escape
decoded, as the application will read it. Otherwise a rule for `/admin:x` would not see `/admin%3Ax`, which is the same
resource to most servers.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from chowk.connect.http1.refusal import Refusal

_PLAIN: Final = re.compile(rb"(?:/(?!\.\.?(?:[/;]|\Z))[!\"$&-.0-9:;<=>@A-Z\[\]^_`a-z{|}~]++)++/?|/")
"""Segments with nothing to normalise: no escape, no empty or dot segment. Nearly all paths."""
_ILLEGAL: Final = re.compile(rb"[^!-~]|[#?\\]")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_REFUSED_ESCAPES: Final = (
    ("encoded_slash", re.compile(rb"%(?:2[Ff]|5[Cc])"), "an encoded slash or backslash in the path"),
    ("encoded_control", re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])"), "an encoded control character in the path"),
    ("double_encoding", re.compile(rb"%25[0-9A-Fa-f]{2}"), "a path that is percent-encoded twice"),
    (
        "overlong_utf8",
        re.compile(rb"%[Cc][01]|%[Ee]0%[89][0-9A-Fa-f]|%[Ff]0%8[0-9A-Fa-f]"),
        "an overlong UTF-8 sequence in the path",
    ),
)
_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = frozenset(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")
_DOT_PARAMETER: Final = re.compile(rb"/\.\.?(?:;|%3B)")
_SLASHES: Final = re.compile(rb"//+")
_PARAMETERS: Final = re.compile(rb";[^/]*+")


def normalise(raw: bytes) -> tuple[bytes, bytes]:
    """`(path, key)` of a path that begins with a slash and holds no query. Refusal 400 where servers would disagree."""
    if _PLAIN.fullmatch(raw):
        return raw, raw
    if not raw.startswith(b"/"):
        raise Refusal(400, "path", "the path does not begin with a slash")
    if _ILLEGAL.search(raw):
        raise Refusal(400, "path", "the path holds a character that no path may hold unencoded")
    path = _decode_unreserved(raw) if b"%" in raw else raw
    if _DOT_PARAMETER.search(path):
        raise Refusal(400, "path", "a dot segment with a parameter, which some servers take for a dot segment")
    path = _remove_dots(_SLASHES.sub(b"/", path))
    return path, unquote_to_bytes(path) if b"%" in path else path


def _decode_unreserved(raw: bytes) -> bytes:
    if _BAD_ESCAPE.search(raw):
        raise Refusal(400, "path", "a percent sign that is not followed by two hexadecimal digits")
    for kind, pattern, reason in _REFUSED_ESCAPES:
        if pattern.search(raw):
            raise Refusal(400, kind, reason)
    path = _ESCAPE.sub(_decoded, raw)
    if _REFUSED_ESCAPES[2][1].search(path):
        raise Refusal(400, "double_encoding", "a path that is percent-encoded twice")
    return path


def _decoded(escape: re.Match[bytes]) -> bytes:
    code = int(escape[0][1:], 16)
    return bytes((code,)) if code in _UNRESERVED else escape[0].upper()


def _remove_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4; one pass. `..` at the root stays at the root."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


_LONE_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_RULE_SAFE: Final = bytes(code for code in range(0x21, 0x7F) if code not in b"?#\\")


def without_parameters(key: bytes) -> bytes:
    """A key as servers read it that drop the parameters of segments (RFC 3986 section 3.3): `/a;b/c` is `/a/c` to them."""
    return _SLASHES.sub(b"/", _PARAMETERS.sub(b"", key))


def rule_key(text: str, *, is_prefix: bool) -> bytes | None:
    """A rule's path in the form of `key`. None: no request that is let through has such a path.

    A rule may be written encoded or plainly. The last segment of a prefix may be part of a longer one, so it stays as it is.
    """
    raw = quoted(text, _RULE_SAFE)
    whole, part = raw, b""
    if is_prefix:
        parent, slash, part = raw.rpartition(b"/")
        whole = parent + slash
    try:
        return normalise(whole)[1] + (normalise(b"/_" + part)[1][2:] if part else b"")
    except Refusal:
        return None


def joined(text: str, rest: bytes = b"") -> bytes:
    """A configured path, and what follows it, as they go on the wire. Refusal 400 when they meet in a dot segment.

    Resolving it would leave the place that the configuration names: `/files/` and `../etc` (of `/prefix../etc`).
    """
    path = _SLASHES.sub(b"/", quoted(text, _RULE_SAFE) + rest)
    normal = normalise(path)[0]
    if len(_ESCAPE.sub(b"_", normal)) != len(_ESCAPE.sub(b"_", path)):
        raise Refusal(400, "path", "a rewritten path with a dot segment")
    return normal


def quoted(text: str, safe: bytes) -> bytes:
    """Configured text as it may stand in a request target: all but `safe` percent-encoded, escapes in it kept."""
    return quote_from_bytes(_LONE_PERCENT.sub(b"%25", text.encode(errors="replace")), safe=safe).encode()


def offset_of(path: bytes, key_bytes: int) -> int:
    """Where in `path` the first `key_bytes` bytes of its key end."""
    if b"%" not in path:
        return key_bytes
    at = 0
    for _ in range(key_bytes):
        at += 3 if path[at : at + 1] == b"%" else 1
    return at
