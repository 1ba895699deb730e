"""The corpora of `tests/connect/http1/corpus`: named messages, and why each is there. Used by tests of the proxy's HTTP."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parents[1] / "connect" / "http1" / "corpus"
_REPEAT = re.compile(r"\{\{(.*?)\*([0-9]+)\}\}", re.DOTALL)


def cases(name: str) -> dict[str, dict[str, Any]]:
    """The cases of `<name>.toml` by name, `bytes` as bytes; `{{text*3}}` in them is repeated."""
    found: dict[str, dict[str, Any]] = tomllib.loads((_FOLDER / f"{name}.toml").read_text())
    for case in found.values():
        text = _REPEAT.sub(lambda match: match[1] * int(match[2]), case["bytes"])
        case["bytes"] = text.encode("latin-1")
    return found


def paths() -> list[list[str]]:
    """Triples of a path as received, its normal form, and its decoded key."""
    found: list[list[str]] = tomllib.loads((_FOLDER / "paths.toml").read_text())["cases"]
    return found
