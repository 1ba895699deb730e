"""A release before this one: a copy of the tree that does not know what this one added last."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
OLD_VERSION = "0.0.9"
NEWEST = ("CreateSession", "DestroySession")


def older_release(folder: Path) -> Path:
    """Make it; what to put on PYTHONPATH. It calls itself `OLD_VERSION`, and its commands are of version 1: no sessions."""
    root = folder / "chowk"
    root.mkdir(parents=True)
    for name in ("agent", "connect", "core", "dns", "server"):
        shutil.copytree(TREE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*TREE.glob("*.py"), TREE / "py.typed"):
        shutil.copy(path, root)
    patch(root / "__init__.py", r'__version__ = "[^"]+"', f'__version__ = "{OLD_VERSION}"')
    commands = root / "core" / "commands.py"
    patch(commands, r"COMMANDS_VERSION: Final = \d+", "COMMANDS_VERSION: Final = 1")
    for name in NEWEST:
        patch(commands, rf"\n    \| {name}\b", "")
    return folder


def patch(path: Path, pattern: str, text: str) -> None:
    """Replace what `pattern` finds, which is there once."""
    changed, count = re.subn(pattern, text, path.read_text())
    if count != 1:
        raise AssertionError(f"{pattern} is {count} times in {path}")
    path.write_text(changed)
