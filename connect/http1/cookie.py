"""Cookies that bind a caller: the line that sets one. Called by routes with sticky splits and by hash keys of balancers.

The name and the path come from configuration. It has been checked long before; whatever it says, nothing is written here
that could say more than a cookie may.
"""

from __future__ import annotations

import re
from typing import Final

from chowk.connect.http1.grammar import TOKEN

COOKIE_TTL_S_MAX: Final = 400 * 86_400.0
"""Browsers keep no cookie longer (RFC 6265bis section 5.5)."""
_NAME: Final = re.compile(rb"%b+" % TOKEN)
_PATH: Final = re.compile(rb"/[!-:<-~]*")
"""Visible ASCII but the semicolon, which would begin another attribute (RFC 6265 section 4.1.1)."""


def is_cookie_name(name: bytes) -> bool:
    """Whether a cookie may be called so."""
    return _NAME.fullmatch(name) is not None


def set_cookie(name: bytes, value: bytes, ttl_s: float, path: bytes, more: bytes = b"") -> bytes:
    """The value of a Set-Cookie header. A `ttl_s` under 1 lasts as long as the browser; a path that is none is left out.

    ValueError when `name` is none; `value` and `more` (further attributes, each with its `; `) are the caller's own.
    """
    if not is_cookie_name(name):
        raise ValueError("a cookie whose name is no token")
    age = b"; Max-Age=%d" % min(ttl_s, COOKIE_TTL_S_MAX) if ttl_s >= 1 else b""
    place = b"; Path=" + path if _PATH.fullmatch(path) else b""
    return b"%b=%b%b%b; HttpOnly%b" % (name, value, place, age, more)
