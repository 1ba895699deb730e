"""The characters of HTTP (RFC 9110 section 5.6), as pieces of regular expressions over bytes. Used by the readers."""

from __future__ import annotations

from typing import Final

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""One character of a token: methods and header names."""
VALUE: Final = rb"[\t -~\x80-\xff]"
"""One character of a header value: printable, tab, or not ASCII."""
