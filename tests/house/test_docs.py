"""Documents are true: every configuration in them loads, every link leads somewhere, every console block is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chowk.agent.config.build import build
from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.parse import parse
from support.documents import DOCUMENTS, ROOT, Block, blocks

CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*") if path.suffix in (".hcl", ".json"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_file_loads(path: Path) -> None:
    if path.parent.name == "entries":
        decode_config_entry(parse(path.read_text(), str(path)))
    else:
        build([str(path)], [], {}, fragments=True)


@pytest.mark.parametrize("block", [*blocks("hcl"), *blocks("json")], ids=str)
def test_every_configuration_in_a_document_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / f"snippet.{block.language}"
    path.write_text(block.text)
    build([str(path)], [], {}, fragments=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"


def test_every_console_block_is_in_a_document_that_is_run() -> None:
    run = {"README.md", "cluster.md"}
    for block in blocks("console"):
        assert block.document.name in run, f"{block}: no test runs the console blocks of {block.document.name}"


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
