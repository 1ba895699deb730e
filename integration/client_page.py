"""The part of docs/compatibility.md that tells what real clients can do, made from the tests that drive them.

Tests in `test_clients_*.py` that are marked `shows` fail unless the feature works; the refusals they list as REFUSED are
tried, too. `python integration/client_page.py` writes the page, and a house test holds it to the tests.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "compatibility.md"
BEGIN = "<!-- clients: made by integration/client_page.py -->\n"
END = "<!-- clients: end -->\n"


def modules() -> Iterator[ModuleType]:
    """The tests with real clients."""
    for path in sorted(HERE.glob("test_clients_*.py")):
        spec = importlib.util.spec_from_file_location(f"client_page_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(str(path))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def render() -> str:
    """The tables."""
    served: dict[str, list[str]] = {}
    refused: list[tuple[str, str, str, str]] = []
    for module in modules():
        for test in vars(module).values():
            shown = getattr(test, "shown", None)
            if shown is not None:
                rows = served.setdefault(shown.client, [])
                rows += [feature for feature in shown.features if feature not in rows]
        for row in getattr(module, "REFUSED", ()):
            refused.append((module.CLIENT, row.feature, row.answer, row.reason))
    lines = ["| client | what works, unmodified |", "|---|---|"]
    lines += [f"| {client} | {_features(features)} |" for client, features in sorted(served.items(), key=_name)]
    lines += ["", "| client | does not work | because |", "|---|---|---|"]
    lines += [f"| {client} | `{feature}` | {reason} |" for client, feature, _answer, reason in sorted(refused)]
    return "\n".join(lines) + "\n"


def _name(row: tuple[str, list[str]]) -> str:
    return row[0].lower()


def _features(features: list[str]) -> str:
    """Words as they are, methods grouped by what they belong to."""
    if not all(all(part.isidentifier() for part in feature.split(".")) for feature in features):
        return "; ".join(features)
    groups: dict[str, list[str]] = {}
    for feature in sorted(features):
        owner, _, method = feature.rpartition(".")
        groups.setdefault(owner, []).append(method)
    return "; ".join(f"`{owner}`: {', '.join(names)}" for owner, names in groups.items())


def replaced(page: str) -> str:
    """The page with the tables as they should be. ValueError when it has no place for them."""
    head, begin, rest = page.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/compatibility.md has lost the marks between which the clients are listed")
    return f"{head}{BEGIN}\n{render()}\n{END}{tail}"


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    PAGE.write_text(replaced(PAGE.read_text()))
