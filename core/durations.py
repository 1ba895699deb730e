"""Go's duration strings, the unit of time in every HCL file and HTTP parameter: `10s`, `1h30m`, `250ms`."""

from __future__ import annotations

import re
from math import isfinite

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of a Go duration (`time.ParseDuration`). ValueError names the text and says what one looks like."""
    body = text.strip()
    sign = -1.0 if body.startswith("-") else 1.0
    body = body[1:] if body[:1] in ("+", "-") else body
    if body == "0":
        return 0.0
    seconds, position = 0.0, 0
    while part := _PART.match(body, position):  # no search: it would try each digit of a long number as a beginning
        seconds += float(part[1]) * _UNITS_S[part[2]]
        position = part.end()
    if not body or position != len(body) or not isfinite(seconds):
        raise ValueError(f'invalid duration "{text}": write a number and a unit, like "10s", "250ms" or "1h30m"')
    return sign * seconds


def format_duration(seconds: float) -> str:
    """The way Go prints a duration: 90 -> `1m30s`, 0.25 -> `250ms`, 0 -> `0s`."""
    if seconds == 0:
        return "0s"
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    if rest < 1:
        for unit, scale in (("ms", 1e3), ("µs", 1e6), ("ns", 1e9)):
            if rest * scale >= 1:
                return f"{sign}{_trim(rest * scale)}{unit}"
        return "0s"
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{int(hours)}h" if hours else ""
    text += f"{int(minutes)}m" if hours or minutes else ""
    return f"{sign}{text}{_trim(rest)}s"


def _trim(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
