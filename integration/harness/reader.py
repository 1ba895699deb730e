"""Somebody who follows a document: its console blocks, command by command, with the output that it promises."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness.waiting import eventually
from support.documents import Block

PATIENCE_S = 25.0


@dataclass
class Reader:
    """Somebody who follows the README in `folder`; commands that end in & run until the end."""

    folder: Path
    ports: dict[str, str] = field(default_factory=dict)
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)

    flags: str = ""
    environment_extra: dict[str, str] = field(default_factory=dict)

    def adapted(self, text: str) -> str:
        """`text` with the README's ports replaced by free ones."""
        return re.sub(r"\b\d{4}\b", lambda match: self.ports.get(match[0], match[0]), text)

    def environment(self) -> dict[str, str]:
        binaries = Path(sys.executable).parent
        return {
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            **self.environment_extra,
        }

    def start(self, command: str) -> None:
        command = command.removesuffix("&").strip()
        if command.startswith("chowk agent"):
            command += self.flags
        log = (self.folder / "background.log").open("ab")
        process = subprocess.Popen(
            f"exec {command}", shell=True, cwd=self.folder, env=self.environment(), stdout=log, stderr=log
        )
        log.close()
        self.background.append(process)

    def output(self, command: str) -> str:
        return subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        ).stdout

    def shows(self, command: str, wanted: re.Pattern[str]) -> bool:
        """True when the command prints what is wanted; AssertionError with what it printed otherwise."""
        output = self.output(command).strip()
        if wanted.fullmatch(output) is None:
            raise AssertionError(f"it printed:\n{output}")
        return True

    def follow(self, block: Block) -> None:
        """Run a console block; AssertionError where the output is not what it says within PATIENCE_S. What changes something
        is run once."""
        for command, expected in steps(self.adapted(block.text)):
            if command.endswith("&"):
                self.start(command)
                continue
            changes = command.startswith("chowk") and not re.search(
                r"check|list|members| get | rtt | why | stat\b", command
            )
            look = partial(self.shows, command, pattern(expected))
            eventually(look, f"{block}: `{command}`\nexpected:\n{expected}", 0.01 if changes else PATIENCE_S)

    def close(self) -> None:
        for process in reversed(self.background):
            process.send_signal(signal.SIGINT)
        for process in self.background:
            process.wait(30)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Each `$ command` of a console block with the output that follows it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def pattern(expected: str) -> re.Pattern[str]:
    """The expected output, where `...` stands for anything and a run of spaces for any run of spaces."""
    escaped = re.escape(expected.strip()).replace(r"\.\.\.", r"[\s\S]*")
    return re.compile(re.sub(r"(\\ )+", r"\\s+", escaped))
