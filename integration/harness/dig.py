"""dig and kdig asked of an agent, and what they print as a value. Called by the DNS tests."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field

from harness.agent import AgentProcess

SECTION = re.compile(r"^;; (\w+) SECTION:\n((?:.+\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """What dig understood: the status, the flags, and the lines of each section as (name, type, data)."""

    status: str
    flags: set[str]
    size: int
    sections: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    def data(self, section: str = "ANSWER", kind: str = "") -> list[str]:
        """The data of a section's records, sorted."""
        return sorted(data for _name, found, data in self.sections.get(section, []) if kind in ("", found))


def dig(agent: AgentProcess, *arguments: str, program: str = "dig") -> Reply:
    """What dig, or kdig, made of the agent's reply; cut replies are not asked for again over TCP. AssertionError when there
    was none."""
    once = {"dig": ["+tries=1", "+time=5"], "kdig": ["+retry=0", "+timeout=5"]}[program]
    command = [program, "@127.0.0.1", "-p", str(agent.dns_port), *once, "+ignore", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    text = done.stdout
    head = re.search(r"status: (\w+)", text)
    flags = re.search(r";; [Ff]lags: ([a-z ]*);", text)
    size = re.search(r"(?:MSG SIZE\s+rcvd:|;; Received) (\d+)", text)
    assert head is not None, text + done.stderr
    assert flags is not None
    sections = {
        name: [(row[0], row[3], row[4]) for line in lines.splitlines() if len(row := line.split(None, 4)) == 5]
        for name, lines in SECTION.findall(text)
    }
    return Reply(head[1], set(flags[1].split()), int(size[1]) if size else 0, sections)
