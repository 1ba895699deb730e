"""The documents of the repository and the code blocks in them. Called by the tests that load or run every one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"\A# (\S+\.(?:hcl|json))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the document and line it stands in, and the file its first line names."""

    language: str
    text: str
    document: Path
    line: int

    @property
    def file_name(self) -> str:
        """`shop.hcl` of a block that starts `# shop.hcl`, else ""."""
        match = _NAME.match(self.text)
        return match[1] if match else ""

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> list[Block]:
    """Every block of that language, in the order they stand."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in _BLOCK.finditer(text):
            if match[1] == language:
                found.append(Block(language, match[2], document, text.count("\n", 0, match.start()) + 1))
    return found
