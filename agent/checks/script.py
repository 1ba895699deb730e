"""The script check: a command whose exit status 0 passes, 1 warns, any other is critical. Called by the scheduler.

Trust boundary: running commands is off unless the agent's own configuration turns it on, and with
`enable_local_script_checks` only definitions from files may; what came over the API, also if kept on disk since, may not.
"""

from __future__ import annotations

from collections.abc import Sequence

from chowk.agent.checks.dial import in_words
from chowk.agent.checks.outcome import Outcome, critical, output_limit, passing, readable, warning
from chowk.agent.checks.process import Tail, run_command
from chowk.agent.config.model import ChecksConfig
from chowk.agent.local.entries import FILE
from chowk.core.definitions import CheckDefinition


def script_refusal(config: ChecksConfig, source: str) -> str:
    """Why a script defined in `source` may not run on this agent; "" when it may."""
    if config.enable_script_checks or (config.enable_local_script_checks and source == FILE):
        return ""
    if config.enable_local_script_checks:
        return (
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
        )
    return (
        "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or "
        "'enable_local_script_checks' to true"
    )


def command_line(definition: CheckDefinition) -> Sequence[str]:
    """The arguments as given; only with `shell` is there a shell, which gets them as one line."""
    return (definition.shell, "-c", " ".join(definition.args)) if definition.shell else definition.args


class ScriptCheck:
    """Runs the command of a definition that may run."""

    def __init__(self, definition: CheckDefinition) -> None:
        self._definition = definition

    async def run(self) -> Outcome:
        """Run once."""
        tail = Tail(output_limit(self._definition.output_max_size))
        try:
            status = await run_command(command_line(self._definition), tail)
        except (OSError, ValueError) as error:
            return critical(f"the command could not be started: {in_words(error)}")
        text = readable(tail.data)
        if tail.total > len(tail.data):
            text = f"Captured {len(tail.data)} of {tail.total} bytes\n...\n{text}"
        if status < 0:
            return critical(f"{text}\nended by signal {-status}".strip())
        return passing(text) if status == 0 else warning(text) if status == 1 else critical(text)
