"""The limits that the documentation names are those that hold."""

from __future__ import annotations

import re
from pathlib import Path

from chowk.connect.http1.limits import LIMITS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "http.md"
NAMES = {
    "start line and headers": LIMITS.head_bytes_max,
    "headers": LIMITS.headers_max,
    "request target": LIMITS.target_bytes_max,
    "method": LIMITS.method_bytes_max,
    "extensions of one chunk": LIMITS.chunk_extension_bytes_max,
    "extensions of a body": LIMITS.extensions_bytes_max,
    "trailers": LIMITS.trailers_max,
    "trailers together": LIMITS.trailer_bytes_max,
}


def test_the_page_names_the_limits_that_hold() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| ([0-9]+)(?: bytes)? \| [0-9]{3} \|$", PAGE.read_text(), re.MULTILINE)
    assert {name: int(number) for name, number in rows} == NAMES
