"""The scripts of tests/scripts/raft: the named scenarios of the field, each with what every server did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.raft_script import Script

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts" / "raft").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_prints_what_it_says(path: Path) -> None:
    text = path.read_text()
    printed = Script().run_text(text)
    if os.environ.get("RAFT_SCRIPTS_WRITE"):
        path.write_text(printed)
    else:
        assert printed == text


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 40
